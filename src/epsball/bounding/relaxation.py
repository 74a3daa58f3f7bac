"""What an elementwise non-linear operator is: a function and two lines around it, read by every method."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from epsball.bounding.mixture import Choice
from epsball.graph.operator import Nonlinear, Relaxed, Slope
from epsball.interval import Interval
from epsball.registry import Registry
from epsball.rounding import SLACK, Ends, Rounding, outside
from epsball.rows import Rows, cache_blocks, inner
from epsball.types import Tensor


class Lines(NamedTuple):
    """`lower_slope * x + lower_bias <= f(x) <= upper_slope * x + upper_bias` on a box; all (B, *n), a bias None for 0."""

    lower_slope: Tensor
    lower_bias: Tensor | None
    upper_slope: Tensor
    upper_bias: Tensor | None


class Elementwise(Nonlinear):
    """A monotone elementwise function with its lines. Adding one is adding one file to `relaxations/`.

    Attributes:
        exact: it only compares and moves numbers, so its value has no rounding error.
        cancels: it subtracts numbers of the size of its argument: its error is in proportion to them, not to its value.
    """

    exact: ClassVar[bool] = False
    cancels: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The function itself: the oracle of its lines."""

    @abstractmethod
    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        """The two lines over a box (B, *n) in real numbers; `slope` names the lower one where there is a choice."""

    def image(self, pre: Interval) -> Interval:
        """The values over a box, in real numbers."""
        return Interval(self(pre.lower), self(pre.upper))

    def value(self, *xs: Tensor) -> Tensor:
        return self(xs[0])

    def interval(self, *pre: Interval) -> Interval:
        found = self.image(pre[0])
        if self.rounding is None or self.exact:
            return found
        sizes = [self._size(end, pre[0]) for end in found]
        return Interval(*outside(Ends(*found, *sizes), self.rounding.elementwise, self.rounding.tiny))

    def _size(self, value: Tensor, pre: Interval) -> Tensor:
        """What the error of a value is in proportion to."""
        return value.abs() + pre.magnitude if self.cancels else value.abs()

    def outer(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        """The two lines, moved apart by what rounding may do: to the function, to the lines, to a form pulled through them."""
        lines = self.lines(pre, slope)
        if self.rounding is None:
            return lines
        below, above = self.room(lines, pre)
        return Lines(
            lines.lower_slope,
            -below if lines.lower_bias is None else lines.lower_bias - below,
            lines.upper_slope,
            above if lines.upper_bias is None else lines.upper_bias + above,
        )

    def room(self, lines: Lines, pre: Interval) -> tuple[Tensor, Tensor]:
        """How far rounding may take the function, or a form pulled through a line, below and above the lines."""
        if self.rounding is None:
            raise TypeError("only an operator with an arithmetic has rounding")
        value = torch.maximum(*(self._size(end, pre) for end in self.image(pre)))
        own = 0.0 if self.exact else self.rounding.elementwise
        ends = ((lines.lower_slope, lines.lower_bias), (lines.upper_slope, lines.upper_bias))
        below, above = (self._of_line(self.rounding, steep.abs() * pre.magnitude + value, bias) for steep, bias in ends)
        return below + own * value, above + own * value

    @staticmethod
    def _of_line(rounding: Rounding, size: Tensor, bias: Tensor | None) -> Tensor:
        """What a line and a form that is pulled through it lose: a few roundings of its terms, and the sum of its biases."""
        if bias is None:
            return rounding.gamma(0, 2 * SLACK) * size + rounding.tiny
        sums = rounding.gamma(0, bias[0].numel() + rounding.running)
        return rounding.gamma(0, 2 * SLACK) * (size + bias.abs()) + sums * bias.abs() + rounding.tiny

    def linear(self, *pre: Interval) -> Tensor:
        return pre[0].lower == pre[0].upper

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        return BetweenLines(self.outer(pre[0], slope))

    def choice(self, rows: Rows, slope: Slope, *pre: Interval) -> Choice | None:
        flat, steep, first = (self.outer(pre[0], name) for name in ("zero", "one", slope))
        rise = steep.lower_slope - flat.lower_slope
        if not bool((rise != 0).any()):
            return None
        share = (first.lower_slope - flat.lower_slope) / torch.where(rise == 0, 1, rise)
        return Choice.over(rows, ~self.linear(*pre), share.clamp(0, 1), flat, steep)


@dataclass(frozen=True, eq=False)
class BetweenLines(Relaxed):
    """`a f(x) >= a+ (lower line) + a- (upper line)`: CROWN's step through an activation."""

    lines: Lines
    on_windows = True

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        values, lines = rows.values, self.lines
        steep, flat = rows.at(lines.upper_slope), rows.at(lines.lower_slope)
        upper, lower = (None if bias is None else rows.at(bias) for bias in (lines.upper_bias, lines.lower_bias))
        blocks = cache_blocks(values)
        if len(blocks) == 1:
            pulled, bias = _below(values, Lines(flat, lower, steep, upper))
            return (rows.like(pulled).cleaned(),), bias
        pulled, biases = torch.empty_like(values), list[Tensor]()
        for s in blocks:
            part = Lines(flat[s], None if lower is None else lower[s], steep[s], None if upper is None else upper[s])
            _, bias = _below(values[:, s], part, out=pulled[:, s])
            biases += [] if bias is None else [bias]
        return (rows.like(pulled).cleaned(),), torch.cat(biases, 1) if biases else None


def _below(values: Tensor, lines: Lines, out: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """`a+ (lower line) + a- (upper line)`: slopes (P, Q, *n) and bias (P, Q), given the lines of each row."""
    positive, negative = values.clamp(min=0), values.clamp(max=0)
    pulled = torch.mul(positive, lines.lower_slope, out=out).addcmul_(negative, lines.upper_slope)
    above = None if lines.upper_bias is None else inner(negative, lines.upper_bias)
    below = None if lines.lower_bias is None else inner(positive, lines.lower_bias)
    return pulled, below if above is None else above if below is None else above + below


relaxations: Registry[type[Elementwise]] = Registry("relaxation", modules=("epsball.bounding.relaxations",))
