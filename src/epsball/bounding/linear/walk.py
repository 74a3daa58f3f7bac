"""Linear forms pulled backward through a network: the one walk under elision and CROWN.

A form over a node is rewritten over the node's arguments, affine operators by their transpose and non-linear ones by the line that
keeps the form below (Zhang et al. 2018, Eq. 5-7). A value that is used twice collects the sum of its forms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from epsball.bounding.linear.losses import Losses, weigh
from epsball.forms.rows import Rows
from epsball.forms.windows import Windows
from epsball.ops.operator import Affine, Relaxed
from epsball.types import Int, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.ops.prepared import Prepared


class Pulled(NamedTuple):
    """Forms where the walk stopped: `<a, z_start> >= sum over terms of <a_t, z_t> + bias`.

    Attributes:
        terms: (slot, forms over it).
        bias: (P, Q), or None for 0; what rounding may take is off.
        lost: (P, Q) or (1, Q) what rounding may take, or None for nothing.
        widest: elements of the largest form on the way, for one row: what a memory budget needs to know.
    """

    terms: list[tuple[int, Rows]]
    bias: Tensor | None
    widest: int
    lost: Tensor | None = None


class Exit(Protocol):
    """Says which rows need not go on."""

    def __call__(self, forms: Mapping[int, Rows], bias: Tensor | None) -> Int[Tensor, " N"] | None:
        """The rows (along the second axis) that go on, given all forms where they stand; None for all."""
        ...


def pull_back(
    network: Prepared,
    start: int,
    rows: Rows,
    relaxed: Mapping[int, Relaxed],
    losses: Losses | None = None,
    *,
    mirror: bool = False,
    leave: Exit | None = None,
) -> Pulled:
    """Pull forms from one node as far as operators allow.

    Args:
        network: the prepared network.
        start: slot of the node the forms are over.
        rows: the forms.
        relaxed: a pair of linear bounds for each non-linear slot that may be passed; the walk stops at the others.
        losses: what rounding takes from a form at each node; None: nothing.
        mirror: the rows are single forms a, and the pairs (a, -a) are asked for: they differ from the first relaxation on only.
        leave: asked before each relaxation but the first; the terms are those of the rows that went all the way.
    """
    pending: dict[int, Rows] = {start: rows}
    terms: list[tuple[int, Rows]] = []
    gains, passed = _Gains(mirror=mirror), False
    widest = 1
    for step in reversed(network.steps):
        if step.slot not in pending:
            continue
        form = pending.pop(step.slot)
        affine = step.op if isinstance(step.op, Affine) else None
        lost = None if losses is None or (affine is None and step.slot not in relaxed) else losses.passing(step)
        if lost is not None:
            gains.lose(weigh(form, lost))
        widest = max(widest, math.prod(form.values.shape[2:]))
        if affine is not None:
            pulled, gained = _through_affine(affine, form)
        elif step.slot in relaxed:
            lines = relaxed[step.slot]
            form = _paired(form) if mirror else form
            if leave is not None and passed:
                keep = leave({step.slot: form, **pending}, gains.total())
                if keep is not None:
                    form, pending = form.take(keep), {slot: f.take(keep) for slot, f in pending.items()}
                    gains.take(keep)
            passed = True
            pulled, gained = lines.pull(form if lines.on_windows else form.dense())
        else:
            terms.append((step.slot, form))
            continue
        gains.add(gained)
        for slot, part in zip(step.args, pulled, strict=True):
            before = pending.get(slot)
            pending[slot] = _sum(part, before)
            if before is not None and losses is not None:
                gains.lose(losses.joining(slot, pending[slot]))
    terms.extend(pending.items())
    if mirror:
        terms = [(slot, _paired(form)) for slot, form in terms]
    widest = max(widest, *(math.prod(form.values.shape[2:]) for _, form in terms), 1)
    return Pulled(terms, gains.total(), widest, gains.lost)


class _Gains:
    """Biases of single forms and of pairs, summed apart."""

    def __init__(self, *, mirror: bool) -> None:
        self._mirror = mirror
        self._sums: dict[int, Tensor] = {}
        self.lost: Tensor | None = None

    def take(self, keep: Tensor) -> None:
        self._sums = {count: gained.index_select(1, keep) for count, gained in self._sums.items()}
        self.lost = None if self.lost is None else self.lost.index_select(1, keep)

    def lose(self, lost: Tensor | None) -> None:
        """A form and its mirror image lose the same."""
        if lost is not None:
            self.lost = lost if self.lost is None else self.lost + lost

    def add(self, gained: Tensor | None) -> None:
        if gained is not None:
            before = self._sums.get(len(gained))
            self._sums[len(gained)] = gained if before is None else before + gained

    def total(self) -> Tensor | None:
        """The sum, as pairs if pairs are asked for."""
        total = self._gained()
        if self.lost is None:
            return total
        if total is None:
            return -self.lost.expand(2, -1) if self._mirror else -self.lost
        return total - self.lost

    def _gained(self) -> Tensor | None:
        single = self._sums.get(1) if self._mirror else None
        if single is None:
            return next(iter(self._sums.values()), None)
        pair = torch.cat((single, -single))
        return pair + self._sums[2] if 2 in self._sums else pair


def _paired(form: Rows) -> Rows:
    return form.mirrored() if len(form.values) == 1 else form


def _sum(part: Rows, other: Rows | None) -> Rows:
    if other is not None and len(part.values) != len(other.values):
        part, other = _paired(part), _paired(other)
    return part.plus(other)


def _through_affine(op: Affine, form: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
    if isinstance(form, Windows):
        form = form.clip()
        small = op.pull_windows(form)
        if small is not None:
            return small, op.offset(form)
        form = form.dense()
    return tuple(form.unflat(v) for v in op.pull(form.flat())), op.offset(form)
