"""What a bound takes: bytes and passes, known before it runs.

Methods compute; what they take is told here, by `need`, `work` and `limited`, one registration for each class (those of the package
are in `budget/methods.py`). All counts are upper bounds of what was measured on the networks of docs/benchmarks.md, in elements
unless they are said to be bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from epsball.errors import BadConfig
from epsball.forms.rows import node_flat
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine, Nonlinear

if TYPE_CHECKING:
    from collections.abc import Callable

    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor

FORM = 6  # copies of a linear form while it is pulled through one operator
_COUNTED = 16  # samples on which unstable units are counted
_PULL = 1.0  # what pulling one form costs, against the multiplications of the operators that it passes


class Need(NamedTuple):
    """Memory of a method, in elements.

    Attributes:
        sample: for each sample, whatever the rows.
        row: for each sample, for the rows in flight: the least that can be, which is one row where they can be cut.
        more: for each sample, for the other rows of the specification; where there is less room, fewer are in flight.
        flight: once, for rows of hidden neurons; likewise.
    """

    sample: float
    row: float
    more: float = 0.0
    flight: float = 0.0

    @classmethod
    def cut(cls, sample: float, row: float, rows: int, flight: float = 0.0) -> Need:
        """Of a method that can take the rows of a specification one by one."""
        return cls(sample, row, row * max(0, rows - 1), flight)


class Work(NamedTuple):
    """Arithmetic of a method for one sample.

    Attributes:
        rows: linear forms that are pulled back, or columns that are carried forward.
        passes: multiples of one plain forward pass.
    """

    rows: float
    passes: float


@dataclass(frozen=True, eq=False)
class Facts:
    """What an estimate reads of a network and a set; everything is computed when it is first asked for."""

    network: Prepared
    input_set: InputSet

    @cached_property
    def widest(self) -> int:
        """Elements of the widest node."""
        return max(self.network.sizes.values())

    @cached_property
    def total(self) -> int:
        """Elements of all nodes that are bounded."""
        return self.inputs + sum(self.network.sizes[step.slot] for step in self.network.before_frontier)

    @cached_property
    def inputs(self) -> int:
        """Elements of one input."""
        return self.network.sizes[0]

    @cached_property
    def bent(self) -> int:
        """Elements that non-linear operators read."""
        return sum(self.network.sizes[slot] for step in self.network.nonlinear for slot in step.args)

    @cached_property
    def weights(self) -> int:
        """Elements of all weights: |W| and a transposed copy are kept."""
        return sum(w.numel() for w in map(_weight, self.network.steps) if w is not None)

    @cached_property
    def unstable(self) -> dict[int, float]:
        """By the slot that is read: the most elements of one sample that intervals leave unstable, on the first samples."""
        some = self.input_set.take(torch.arange(min(_COUNTED, len(self.input_set.centre)), device=self.input_set.centre.device))
        with torch.no_grad():
            steps = self.network.before_frontier
            found = self.network.walk(lambda step, args: step.op.interval(*args), {0: some.hull()}, steps)
        counts: dict[int, float] = {}
        for step in self.network.before_frontier:
            if isinstance(step.op, Affine):
                continue
            pre = [found[slot] for slot in step.args]
            for slot, settled in zip(step.args, step.op.settled(*pre), strict=True):
                counts[slot] = max(counts.get(slot, 0.0), float(node_flat(~settled, 1).sum(1).amax()) if settled.numel() else 0.0)
        exact = self.network.exact_on_boxes if self.input_set.is_box else frozenset[int]()
        return {slot: n for slot, n in counts.items() if slot and slot not in exact}

    @cached_property
    def forward(self) -> float:
        """Multiplications of a plain forward pass of one sample."""
        return max(1.0, sum(self._price(step, None) for step in self.network.steps))

    def back(self, slot: int) -> float:
        """What it costs to pull one form from a slot to the input, in forward passes."""
        pending: dict[int, tuple[int, int] | None] = {slot: (1, 1) if len(self._shapes[slot]) == 3 else None}
        spent = 0.0
        for step in reversed(self.network.steps):
            if step.slot not in pending:
                continue
            extent = pending.pop(step.slot)
            spent += self._price(step, extent)
            grown = _grown(step, extent)
            for arg in step.args:
                pending[arg] = grown if len(self._shapes[arg]) == 3 else None
        return _PULL * spent / self.forward

    @cached_property
    def _shapes(self) -> dict[int, tuple[int, ...]]:
        shapes = {step.slot: tuple(step.node.shape) for step in self.network.plan.steps}
        return shapes | {0: tuple(self.network.plan.graph.input_shape)}

    def _price(self, step: Layer, extent: tuple[int, int] | None) -> float:
        """Multiplications of one operator, on a window of its result or on the whole."""
        size, weight = self.network.sizes[step.slot], _weight(step)
        share = 1.0
        if extent is not None:
            height, width = self._shapes[step.slot][1:]
            share = min(1.0, extent[0] / height) * min(1.0, extent[1] / width)
        return size * share * (1 if weight is None else weight.numel() / len(weight))


@singledispatch
def need(method: object, facts: Facts, rows: int) -> Need | None:
    """The memory of a bound method for so many rows of a specification; None: nothing is known of this one.

    What a method takes is registered for its class: `@need.register`, and likewise `work` and `limited`.
    """
    return None


@singledispatch
def work(method: object, facts: Facts, rows: int) -> Work:
    """The arithmetic of a bound method for one sample; by default that of one backward pass of the rows."""
    return Work(rows, rows * facts.back(facts.network.plan.output))


@singledispatch
def limited(method: Any, limit: int) -> Any:
    """The same method with at most so many bytes of rows in flight; by default the method itself."""
    return method


def shares(network: Prepared) -> int:
    """Shares of linear bounds that one row of one sample may choose, at most."""
    total = 0
    for step in network.nonlinear:
        if isinstance(step.op, Nonlinear):
            total += step.op.shares([network.sizes[slot] for slot in step.args], step.node.shape)
    return total


def _weight(step: Layer) -> Tensor | None:
    weight = getattr(step.op, "weight", None)
    return weight if isinstance(weight, torch.Tensor) and weight.dim() >= 2 else None


def _grown(step: Layer, extent: tuple[int, int] | None) -> tuple[int, int] | None:
    """The window over an operator's argument, None for the whole map."""
    if extent is None or isinstance(step.op, Elementwise):
        return extent
    op, weight = cast("Any", step.op), _weight(step)
    if weight is None or not hasattr(op, "dilation") or len(op.stride) != 2:
        return extent if isinstance(step.op, Affine) and step.op.diagonal else None
    kernel, axes = weight.shape[2:], zip(extent, op.stride, op.dilation, strict=True)
    height, width = ((n - 1) * s + d * (k - 1) + 1 for (n, s, d), k in zip(axes, kernel, strict=True))
    return height, width


def in_parts(rows: Rows, size: float, limit: int, bound: Callable[[Rows], Tensor]) -> Tensor:
    """Bounds of shared rows, as many rows at a time as a limit holds.

    Args:
        rows: (P, Q, *n).
        size: elements of one row of one sample while it is pulled.
        limit: bytes.
        bound: (p, Q) of some of the rows.
    """
    count, batch = rows.values.shape[:2]
    step = max(1, int(limit // max(1.0, size * batch * rows.values.element_size())))
    if count <= step:
        return bound(rows)
    parts = -(-count // step)
    return torch.cat([bound(rows.like(part)) for part in torch.chunk(rows.values, parts)])


class TooLarge(BadConfig):
    """A batch that turned out to need more than its budget; a smaller one may fit.

    Attributes:
        bytes: what it needs.
    """

    def __init__(self, name: str, count: int, limit: int) -> None:
        self.bytes = count
        super().__init__(
            f"a budget of {readable(limit)} is too small for one row: {name} needs {count} bytes ({readable(count)})",
            where=f"Budget(bytes={limit})",
            fix=f"give Budget(bytes={count}) or more, or a method that takes less",
        )


def readable(count: float) -> str:
    """Bytes for people: "3.2 MiB"."""
    for power, unit in enumerate(("bytes", "KiB", "MiB", "GiB")):
        if count < 1024 ** (power + 1) or unit == "GiB":
            return f"{count / 1024**power:.3g} {unit}" if power else f"{math.ceil(count)} bytes"
    raise AssertionError(count)
