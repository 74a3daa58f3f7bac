"""What is known of a normalised tensor beyond the quotient it is computed as.

`y_i = d_i / sqrt(mean(d^2) + eps)` grows with d_i and shrinks with all other |d_j|, so over a box of d it is least and greatest at
two corners. The quotient `d * rsqrt(...)` forgets that both factors are one tensor: its own interval may be many times wider, and
reach far beyond the sqrt(n - 1) that n numbers of mean 0 allow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.graph.graph import Node, Shape
from epsball.ops.operator import Lossy, Nonlinear, Relaxed, Slope, operators
from epsball.rounding import SLACK, Ends, outside
from epsball.types import Tensor

_WIDE = 6.0  # a quotient this many times wider than what is known says less than a constant


@dataclass(frozen=True, eq=False)
class Normalised(Nonlinear):
    """The quotient itself: `f(q, d) = q`, where q is what d normalises to.

    Attributes:
        axes: that are normalised together; they count the batch as axis 0.
        eps: as in the quotient.
        centred: whether the mean over these axes is 0.
    """

    axes: tuple[int, ...]
    eps: float
    centred: bool

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0]

    def interval(self, *pre: Interval) -> Interval:
        return self._known(pre[1]).intersect(pre[0])

    def _known(self, d: Interval) -> Interval:
        """The exact interval over the box of d, and with the mean at 0 a little more."""
        squares = torch.stack((d.lower.square(), d.upper.square()))
        least = torch.where((d.lower < 0) & (d.upper > 0), 0.0, squares.amin(0))
        others = [self._others(least, -1.0), self._others(squares.amax(0), 1.0)]
        known = Interval(self._quotient(d.lower, others[1], others[0]), self._quotient(d.upper, others[0], others[1]))
        if self.rounding is None:
            return known
        terms = self._count(d.lower) + SLACK
        ends = Ends(*known, known.lower.abs(), known.upper.abs())
        return Interval(*outside(ends, self.rounding.gamma(terms, terms), self.rounding.tiny))

    def _others(self, squares: Tensor, sign: float) -> Tensor:
        """The sum of all squares but an element's own, with room for what the subtraction rounds."""
        total = squares.sum(self.axes, keepdim=True)
        room = 1 + sign * 4 * math.sqrt(self._count(squares)) * torch.finfo(squares.dtype).eps
        return (total * room - squares).clamp(min=0)

    def _count(self, tensor: Tensor) -> int:
        """How many elements are normalised together."""
        count: int = math.prod(tensor.shape[axis] for axis in self.axes)
        return count

    def _quotient(self, end: Tensor, above: Tensor, below: Tensor) -> Tensor:
        """At one end of d_i: the others' squares from `above` where it is positive, from `below` where it is negative."""
        count = self._count(end)
        others = torch.where(end >= 0, above, below)
        if self.centred and count > 1 and self.rounding is None:  # the others sum to -d_i, but for rounding
            others = torch.maximum(others, end.square() / (count - 1))
        scale: Tensor = ((end.square() + others) / count + self.eps).clamp(min=torch.finfo(end.dtype).tiny).rsqrt()
        return end * scale

    def linear(self, *pre: Interval) -> Tensor:
        return torch.ones_like(pre[0].lower, dtype=torch.bool)

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        known = self._known(pre[1])
        wide = pre[0].width > _WIDE * known.width + 1e-6
        lines = Kept(~wide, known)
        if self.rounding is None:
            return lines
        return Lossy(lines, self.rounding.gamma(0, known.lower[0].numel() + self.rounding.running) * known.magnitude)


@dataclass(frozen=True, eq=False)
class Kept(Relaxed):
    """The quotient where its interval is fair, constants elsewhere; d itself is not needed."""

    fair: Tensor
    known: Interval

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        fair = rows.at(self.fair)
        kept = torch.where(fair, rows.values, 0.0)
        rest = rows.values - kept
        bias = rows.like(rest.clamp(min=0)).dot(self.known.lower) + rows.like(rest.clamp(max=0)).dot(self.known.upper)
        return (rows.like(kept), rows.like(torch.zeros_like(kept))), bias


@operators.register("normalised")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    a = node.attrs
    return Normalised(tuple(d + 1 for d in a["dims"]), a["eps"], a["centred"])
