"""What an operator is to a bound method: affine, or non-linear with a relaxation.

A factory receives a node and the values of its constant arguments (None for those that vary) and returns the operator with
its constants bound. Which arguments vary is thus part of the choice: `mul` by a constant is affine, and a factory that
cannot serve the arguments it is given raises `UnsupportedOp`. There is no fallback by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, Protocol, Self

import torch

from epsball.errors import UnsupportedOp
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.forms.windows import Windows
from epsball.graph.graph import Node, Shape
from epsball.registry import Registry
from epsball.rounding import SLACK, Rounding
from epsball.types import Float, Tensor

Slope = Literal["adaptive", "same", "zero", "one"]


class Sums(NamedTuple):
    """How many terms an operator adds up.

    Attributes:
        value: for one element of its result, a constant among them; 0 where elements are only moved.
        pull: for one element of a form that is pulled back; at most 1 where they are only moved.
    """

    value: int
    pull: int


MOVES = Sums(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine(ABC):
    """`f(x) = A x + f(0)`, one value for each sample, in all arguments that vary together.

    Attributes:
        rounding: the arithmetic whose rounding `interval` and `loss` give away; None: none, as in training.
        elements: of the result of one sample: as many terms has the sum of `<a, f(0)>`. It is read for the rounding only.
    """

    # A box of inputs stays a box (each output element depends on one input element), so intervals lose nothing.
    diagonal: ClassVar[bool] = False
    rounding: Rounding | None = None
    elements: int = 1

    def rounded(self, rounding: Rounding, elements: int) -> Self:
        """The same operator, bounded for an arithmetic."""
        return replace(self, rounding=rounding, elements=elements)

    @property
    @abstractmethod
    def sums(self) -> Sums:
        """How many terms it adds up."""

    @abstractmethod
    def size(self, *magnitudes: Tensor) -> Tensor:
        """`|A| m + |f(0)|` for magnitudes m >= 0 of the arguments: what the terms of each sum come to (B, *out)."""

    @property
    def constant(self) -> Tensor | None:
        """`|f(0)|`, anything that broadcasts to (B, *out), or None where f(0) = 0."""
        return None

    @abstractmethod
    def value(self, *xs: Tensor) -> Tensor:
        """The operation itself, on a batch."""

    @abstractmethod
    def interval(self, *xs: Interval) -> Interval:
        """The tightest interval of the result over a box of arguments, plus what `rounding` may do."""

    def loss(self, *magnitudes: Tensor) -> Tensor | None:
        """What a form over the result may lose to rounding for each unit of its coefficients (B, *out), or None for nothing.

        It covers the module's evaluation, and the bound's own pull and offset: `gamma |A| m` for each, on the numbers they add up.
        """
        if self.rounding is None or self._share == 0:
            return None
        return torch.add(self._room, self.size(*magnitudes), alpha=self._share)

    @cached_property
    def _share(self) -> float:
        value, pull = self.sums
        if self.rounding is None or (value == 0 and pull <= 1 and self.constant is None):
            return 0.0
        return self.rounding.gamma(value + 1 if value else 0, pull + SLACK)

    @cached_property
    def _room(self) -> Tensor:
        """What does not depend on the arguments: underflow, and the sum of `<a, f(0)>` over the whole node."""
        if self.rounding is None:
            raise TypeError("only an operator with an arithmetic has rounding")
        least, constant = sum(self.sums) * self.rounding.tiny, self.constant
        if constant is None:
            return torch.full((), least, dtype=self.rounding.own)
        return self.rounding.gamma(0, self.elements + self.rounding.running) * constant + least

    @abstractmethod
    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        """`A^T a` for a batch of forms (N, *out), one tensor (N, *in) for each varying argument."""

    def pull_windows(self, rows: Windows) -> tuple[Rows, ...] | None:
        """`A^T a` for forms on windows, or None where there is no such rule: the forms are then made dense."""
        return None

    def offset(self, rows: Rows) -> Tensor | None:
        """`<a, f(0)>` for each row, or None where f(0) = 0."""
        return None


class Relaxed(ABC):
    """A non-linear operator between two linear functions, over one box of its arguments."""

    # Whether `pull` takes forms on windows as they are.
    on_windows: bool = False

    @abstractmethod
    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        """Forms over the arguments whose value is at most `<a, f(x)>` on the box, and their bias (P, Q)."""


@dataclass(frozen=True, eq=False)
class Lossy(Relaxed):
    """The same lines, less what rounding may do to a form for each unit of its coefficients (B, *out)."""

    lines: Relaxed
    loss: Tensor

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        pulled, bias = self.lines.pull(rows)
        lost = rows.like(rows.values.abs()).dot(self.loss)
        return pulled, -lost if bias is None else bias - lost


class Choosable(Protocol):
    """Linear bounds of one node to choose from: any shares in [0, 1] give sound ones. What alpha-CROWN optimises.

    They are laid out for the rows (P, Q) that arrive at the node.
    """

    @property
    def start(self) -> Tensor:
        """(Q, m) the shares to start from: CROWN's."""
        ...

    def detach(self) -> Choosable:
        """The same without gradient."""
        ...

    def at(self, share: Float[Tensor, "P Q m"]) -> Relaxed:
        """The bounds at given shares."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Nonlinear(ABC):
    """An operator that a linear method must relax.

    Attributes:
        rounding: the arithmetic whose rounding `interval`, `relax` and `choice` give away; None: none, as in training.
        positive: the lower end of `interval` is never below 0.
    """

    rounding: Rounding | None = None
    positive: ClassVar[bool] = False

    @property
    def leak(self) -> float | None:
        """a, where it is `max(x, a x)` of each element, 0 <= a <= 1: linear on either side of 0. None for any other."""
        return None

    def slopes(self, pre: Interval) -> Interval | None:
        """The range of an elementwise operator's derivative over a box (B, *in), in real numbers; None where it is not known."""
        return None

    def rounded(self, rounding: Rounding, elements: int) -> Self:
        """The same operator, bounded for an arithmetic; its result has so many elements."""
        return replace(self, rounding=rounding)

    @abstractmethod
    def value(self, *xs: Tensor) -> Tensor:
        """The operation itself, on a batch: the oracle of its relaxation."""

    @abstractmethod
    def interval(self, *pre: Interval) -> Interval:
        """An interval of the result over a box of arguments, plus what `rounding` may do."""

    @abstractmethod
    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        """The linear bounds over a box of arguments, less what `rounding` may do to a form that is pulled through them."""

    @abstractmethod
    def linear(self, *pre: Interval) -> Tensor:
        """Mask (B, *in) of the elements on which the operator is exactly linear over the box."""

    def settled(self, *pre: Interval) -> tuple[Tensor, ...]:
        """For each argument, a mask of the elements whose better bounds would change nothing."""
        return (self.linear(*pre),) * len(pre)

    def choice(self, rows: Rows, slope: Slope, *pre: Interval) -> Choosable | None:
        """The linear bounds to choose from for the rows that arrive; None where there is one pair only."""
        return None

    def shares(self, sizes: Sequence[int], shape: Shape) -> int:
        """At most so many shares a row, given the sizes of the arguments and the result's shape: for a memory budget."""
        return sum(sizes)


Operator = Affine | Nonlinear
Factory = Callable[[Node, tuple[Tensor | None, ...], tuple[Shape, ...]], Operator]

operators: Registry[Factory] = Registry("operator", package="epsball.ops", verb="ops")


@dataclass(frozen=True, eq=False)
class Autodiff:
    """`A^T a` by differentiation: right for every affine operator, and the oracle of the explicit ones.

    Attributes:
        value: the affine operation.
        shapes: per-sample shapes of its varying arguments.
    """

    value: Callable[..., Tensor]
    shapes: tuple[Shape, ...]

    def __call__(self, values: Tensor) -> tuple[Tensor, ...]:
        """One reverse pass over a batch of N zero arguments: samples are independent, so rows are too."""
        zeros = [values.new_zeros(len(values), *shape) for shape in self.shapes]
        pullback = torch.func.vjp(self.value, *zeros)[1]
        return tuple(pullback(values))


def unsupported(node: Node, why: str, nearest: str = "") -> UnsupportedOp:
    """The error for a node without a rule."""
    fix = f"use {nearest}, or " if nearest else "replace the operator, or "
    return UnsupportedOp(
        f"no bounds for `{node.op}`: {why}",
        where=str(node.where),
        fix=f"{fix}register one with epsball.ops.operator.operators; covered ones: epsball list ops",
    )
