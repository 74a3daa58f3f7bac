"""What an elementwise non-linear operator is: a function and two lines around it, read by every method."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from epsball.graph.operator import Nonlinear, Relaxed, Slope
from epsball.interval import Interval
from epsball.registry import Registry
from epsball.rows import Rows
from epsball.types import Tensor


class Lines(NamedTuple):
    """`lower_slope * x + lower_bias <= f(x) <= upper_slope * x + upper_bias` on a box; all (B, *n), a bias None for 0."""

    lower_slope: Tensor
    lower_bias: Tensor | None
    upper_slope: Tensor
    upper_bias: Tensor | None


class Elementwise(Nonlinear):
    """A monotone elementwise function with its lines. Adding one is adding one file to `relaxations/`."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The function itself: the oracle of its lines."""

    @abstractmethod
    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        """The two lines over a box (B, *n); `slope` names the lower one where there is a choice."""

    def value(self, *xs: Tensor) -> Tensor:
        return self(xs[0])

    def interval(self, *pre: Interval) -> Interval:
        return Interval(self(pre[0].lower), self(pre[0].upper))

    def linear(self, *pre: Interval) -> Tensor:
        return pre[0].lower == pre[0].upper

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        return BetweenLines(self.lines(pre[0], slope))


@dataclass(frozen=True, eq=False)
class BetweenLines(Relaxed):
    """`a f(x) >= a+ (lower line) + a- (upper line)`: CROWN's step through an activation."""

    lines: Lines
    on_windows = True

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        lines, values = self.lines, rows.values
        positive = values.clamp(min=0)
        pulled = values * rows.at(lines.upper_slope)
        pulled = pulled.addcmul_(positive, rows.at(lines.lower_slope - lines.upper_slope))
        bias = None if lines.upper_bias is None else rows.like(values.clamp(max=0)).dot(lines.upper_bias)
        if lines.lower_bias is not None:
            below = rows.like(positive).dot(lines.lower_bias)
            bias = below if bias is None else bias + below
        return (rows.like(pulled).cleaned(),), bias


relaxations: Registry[type[Elementwise]] = Registry("relaxation", modules=("epsball.bounding.relaxations",))
