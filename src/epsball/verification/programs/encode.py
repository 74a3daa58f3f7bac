"""A captured graph as a linear program: variables for the inputs and for what is not linear over the set, nothing else.

Affine operators and stable units are substituted: a form over any node is pulled back to the variables by the same walk that serves
CROWN, which passes stable units exactly and leaves what a form says of the others as coefficients of their variables. So whatever
CROWN can walk through (convolutions, residual sums, batch norm) can be encoded, and no layer's matrix is ever formed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from scipy import sparse

from epsball.bounding.linear.known import Known
from epsball.bounding.linear.losses import weigh
from epsball.bounding.linear.walk import pull_back
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine, Nonlinear, Relaxed, Slope
from epsball.verification.programs.program import Array, Forms, Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.bounding.linear.walk import Pulled
    from epsball.ops.prepared import Layer
    from epsball.types import Bool, Int, Tensor

_SLOPES: tuple[Slope, ...] = ("zero", "one", "adaptive", "same")
_BYTES = 2**25  # of the rows that are pulled back at once


@runtime_checkable
class HalfSpaces(Protocol):
    """A set that knows linear constraints of its own, besides those of its hull."""

    def halfspaces(self) -> tuple[Tensor, Tensor]:
        """A (B, m, d) over the flat inputs and b (B, m), float64: `A x <= b` at every point that counts as inside."""
        ...


@dataclass(frozen=True, eq=False)
class Units:
    """The variables of one non-linear node.

    Attributes:
        step: the node.
        index: (k,) its outputs that have a variable y.
        y: the first one's column; the others follow.
        z: the column of the first argument's variable, with `z = (the argument, over earlier variables)`; None where the operator
            is not elementwise and its lines were written over earlier variables at once.
        above: the first row of the lines above y, where there is one line; the others follow.
    """

    step: Layer
    index: Int[Tensor, " k"]
    y: int
    z: int | None
    above: int | None = None

    def values(self, v: Array) -> tuple[Array, Array]:
        """(z, y) at a point."""
        count = len(self.index)
        start = self.y if self.z is None else self.z
        return v[start : start + count], v[self.y : self.y + count]


@dataclass(eq=False)
class Encoding:
    """The program of one sample, which grows node by node.

    Attributes:
        known: network, set, intervals and linear bounds so far; one sample.
        program: inputs first, in their flat order; then (z, y) node by node.
        units: by slot.
    """

    known: Known
    program: Program = field(init=False)
    units: dict[int, Units] = field(default_factory=dict)
    _passing: dict[int, Passing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        box = self.known.found[0]
        self.program = Program.over(_numbers(box.lower), _numbers(box.upper))
        input_set = self.known.input_set
        if isinstance(input_set, HalfSpaces):
            A, b = input_set.halfspaces()
            ends = _numbers(b[0])
            self.program = self.program.with_rows(sparse.csr_matrix(_numbers(A[0]).reshape(len(ends), -1)), ends - math.inf, ends)

    @property
    def inputs(self) -> int:
        """How many variables are inputs."""
        return self.known.input_set.centre[0].numel()

    def point(self, v: Array) -> Tensor:
        """The input (1, *x) of a solution, moved into the set."""
        centre = self.known.input_set.centre
        x = torch.from_numpy(v[: self.inputs].copy()).to(centre.device, centre.dtype)
        return self.known.input_set.project(x.view_as(centre))

    def add_until(self, slot: int) -> None:
        """Encode every non-linear node before a slot that is not encoded yet."""
        for step in self.known.network.before_frontier:
            if step.slot >= slot:
                return
            if isinstance(step.op, Nonlinear) and step.slot not in self.units:
                self._add(step)

    def forms(self, slot: int, rows: Rows) -> Forms:
        """Forms over a node as affine functions of the variables: (P Q) of them."""
        return self._pulled(slot, rows, {})

    def _pulled(self, slot: int, rows: Rows, relaxed: Mapping[int, Relaxed]) -> Forms:
        widest = max(math.prod(step.node.shape) for step in self.known.network.steps)
        step = max(1, _BYTES // (8 * len(rows.values) * max(widest, self.inputs)))
        parts = []
        for start in range(0, rows.values.shape[1], step):
            part = rows.take(torch.arange(start, min(start + step, rows.values.shape[1]), device=rows.device))
            seen: list[tuple[int, Tensor]] = []
            rounded: list[Tensor] = []
            passing = {s: Noted(p, seen, rounded) for s, p in self._passing.items()}
            pulled = pull_back(self.known.network, slot, part, {**passing, **relaxed}, self.known.losses)
            rounded += [] if pulled.lost is None else [pulled.lost]
            bias = None if pulled.bias is None or pulled.lost is None else pulled.bias + pulled.lost
            pulled = pulled if bias is None else pulled._replace(bias=bias)  # what is lost is kept apart: it goes both ways
            parts.append(self._read(pulled, seen, rounded, len(rows.values)))
        # parts are (P, Q') each: put them back into the order of (P, Q)
        matrices, offsets, losses = zip(*parts, strict=True)
        sizes = [len(offset) // len(rows.values) for offset in offsets]
        order = np.argsort(np.concatenate([np.repeat(np.arange(len(rows.values)), size) for size in sizes]), kind="stable")
        return Forms(sparse.vstack(matrices, format="csr")[order], np.concatenate(offsets)[order], np.concatenate(losses)[order])

    def _read(
        self, pulled: Pulled, seen: list[tuple[int, Tensor]], rounded: list[Tensor], pairs: int
    ) -> tuple[sparse.csr_matrix, Array, Array]:
        blocks = [(values.flatten(0, 1), self.units[slot].y) for slot, values in seen]
        for slot, form in pulled.terms:
            blocks.append((node_flat(form.dense().values, 2).flatten(0, 1), 0 if slot == 0 else self.units[slot].y))
        rows = len(blocks[0][0])
        entries = []
        for values, first in blocks:
            where = values.nonzero(as_tuple=True)
            entries.append((_numbers(values[where]), where[0].cpu().numpy(), where[1].cpu().numpy() + first))
        data, row, column = (np.concatenate(part) for part in zip(*entries, strict=True))
        offset = np.zeros(rows) if pulled.bias is None else _numbers(pulled.bias.expand(pairs, -1))
        lost = np.sum([_numbers(part.expand(pairs, -1)) for part in rounded], 0) if rounded else np.zeros(rows)
        # the walk took off what is lost, and it was added again: each is a rounding in the walk's precision
        lost = lost + 4 * torch.finfo(self.known.network.dtype).eps * (np.abs(offset) + lost)
        return sparse.csr_matrix((data, (row, column)), (rows, self.program.count)), offset, lost

    def _add(self, step: Layer) -> None:
        if isinstance(step.op, Elementwise):
            self._add_elementwise(step, step.op)
        elif not isinstance(step.op, Affine):
            self._add_other(step, step.op)

    def _add_elementwise(self, step: Layer, op: Elementwise) -> None:
        """Columns z and y for what is not linear, the row that defines z, and the lines between the two."""
        arg = step.args[0]
        pre = self.known.found[arg]
        mask = op.linear(pre)
        index = (~mask[0].flatten()).nonzero()[:, 0]
        self._passing[step.slot] = Passing.through(step.slot, op, pre, mask)
        count = len(index)
        if count == 0:
            self.units[step.slot] = Units(step, index, self.program.count, self.program.count)
            return
        forms = self.forms(arg, neurons(pre, index))
        post = op.interval(pre)
        ends = [_numbers(end.flatten()[index]) for end in (pre.lower, post.lower, pre.upper, post.upper)]
        z = self.program.count
        self.program = self.program.widened(np.concatenate(ends[:2]), np.concatenate(ends[2:]))
        one = sparse.identity(count, format="csr")
        defined = sparse.hstack((-forms.matrix, one, sparse.csr_matrix((count, count))), format="csr")
        self.program = self.program.with_rows(defined, forms.offset - forms.lost, forms.offset + forms.lost)
        above = []
        for below, slope, bias in _distinct(op, pre, index):
            if not below:
                above.append(len(self.program.low))
            rows = sparse.hstack((sparse.csr_matrix((count, z)), -sparse.diags(slope), one), format="csr")
            free = np.full(count, math.inf)
            self.program = self.program.with_rows(rows, bias if below else -free, free if below else bias)
        self.units[step.slot] = Units(step, index, z + count, z, above[0] if len(above) == 1 else None)

    def _add_other(self, step: Layer, op: Nonlinear) -> None:
        """A column y for every output, between the operator's two linear functions over earlier variables."""
        pre = [self.known.found[slot] for slot in step.args]
        post = op.interval(*pre)
        index = torch.arange(post.lower[0].numel(), device=post.lower.device)
        count, before = len(index), self.program.count
        found: list[Forms] = []
        for slope in _SLOPES[2:]:
            forms = self._pulled(step.slot, neurons(post, index).mirrored(), {step.slot: op.relax(*pre, slope=slope)})
            if not found or abs(found[0].matrix - forms.matrix).max() > 0 or np.abs(found[0].offset - forms.offset).max() > 0:
                found.append(forms)
        self.program = self.program.widened(_numbers(post.lower.flatten()), _numbers(post.upper.flatten()))
        self.units[step.slot] = Units(step, index, before, None)
        one = sparse.identity(count, format="csr")
        for forms in found:
            rows = sparse.hstack((-forms.matrix, sparse.vstack((one, -one))), format="csr")
            self.program = self.program.with_rows(rows, forms.offset - forms.lost, np.full(2 * count, math.inf))


@dataclass(frozen=True, eq=False)
class Passing:
    """An elementwise node: a line where it is linear, a variable elsewhere.

    Attributes:
        slot: of the node.
        slope: (1, *n), 0 where there is a variable.
        bias: (1, *n), likewise.
        lost: (1, *n) what rounding may do where it is linear; None for nothing.
        index: (k,) the units with a variable.
    """

    slot: int
    slope: Tensor
    bias: Tensor | None
    lost: Tensor | None
    index: Tensor

    @classmethod
    def through(cls, slot: int, op: Elementwise, pre: Interval, linear: Bool[Tensor, "1 *n"]) -> Passing:
        lines = op.lines(pre)
        lost = None if op.rounding is None else torch.where(linear, torch.maximum(*op.room(lines, pre)), 0.0)
        bias = None if lines.lower_bias is None else torch.where(linear, lines.lower_bias, 0.0)
        return cls(slot, torch.where(linear, lines.lower_slope, 0.0), bias, lost, (~linear[0].flatten()).nonzero()[:, 0])


@dataclass(frozen=True, eq=False)
class Noted(Relaxed):
    """A step through an elementwise node that notes the coefficients of its variables, and what a form loses where it is linear."""

    passing: Passing
    seen: list[tuple[int, Tensor]]
    rounded: list[Tensor]

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        p = self.passing
        self.seen.append((p.slot, node_flat(rows.values, 2)[..., p.index]))
        if p.lost is not None:
            self.rounded.append(weigh(rows, p.lost))
        return (rows.like(rows.values * p.slope),), None if p.bias is None else rows.dot(p.bias)


def neurons(like: Interval, index: Int[Tensor, " k"]) -> Rows:
    """The forms z_i of one sample's listed neurons, (1, k, *n)."""
    return Rows.units(torch.zeros_like(index), index, like.lower.shape[1:], like.lower.dtype)


def _distinct(op: Elementwise, pre: Interval, index: Tensor) -> list[tuple[bool, Array, Array]]:
    """The lines below (True) and above (False) that an operator offers, each (k,); equal ones once."""
    found: list[tuple[bool, Array, Array]] = []
    for name in _SLOPES:
        lines = op.outer(pre, name)
        for below, slope, bias in (
            (True, lines.lower_slope, lines.lower_bias),
            (False, lines.upper_slope, lines.upper_bias),
        ):
            s = _numbers(slope.expand_as(pre.lower).flatten()[index])
            b = np.zeros(len(s)) if bias is None else _numbers(bias.expand_as(pre.lower).flatten()[index])
            known = [(t, c) for side, t, c in found if side == below]
            # a line of "adaptive" is one of the two before it, unit by unit: it adds nothing
            covered = np.zeros(len(s), dtype=bool)
            for t, c in known:
                covered |= (s == t) & (b == c)
            flat = (s == 0) & below & np.all(b == _numbers(op.interval(pre).lower.flatten()[index]))
            if not np.all(covered | flat):
                found.append((below, s, b))
    return found


def _numbers(values: Tensor) -> Array:
    """A tensor as a flat float64 array."""
    found: Array = values.detach().flatten().double().cpu().numpy()
    return found
