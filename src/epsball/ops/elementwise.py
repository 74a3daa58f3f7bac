"""What an elementwise non-linear operator is: a function and two lines around it, read by every method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.graph.graph import Node
from epsball.ops.lines import BetweenLines, Lines
from epsball.ops.operator import Nonlinear, Relaxed, Slope, operators
from epsball.ops.shares import Choice
from epsball.registry import Registry
from epsball.rounding import SLACK, Ends, Rounding, outside
from epsball.types import Tensor


class Elementwise(Nonlinear):
    """A monotone elementwise function with its lines. Adding one is adding one file to `activations/`.

    Attributes:
        exact: it only compares and moves numbers, so its value has no rounding error.
        cancels: it subtracts numbers of the size of its argument: its error is in proportion to them, not to its value.
    """

    exact: ClassVar[bool] = False
    cancels: ClassVar[bool] = False

    @classmethod
    def of(cls, node: Node) -> Self:
        """The operator of a node: its attributes are the options."""
        return cls(**node.attrs)

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


class _Relaxations(Registry[type[Elementwise]]):
    """Each is an operator, too, whose options are the node's attributes."""

    def register(self, name: str) -> Callable[[type[Elementwise]], type[Elementwise]]:
        file = super().register(name)

        def keep(entry: type[Elementwise]) -> type[Elementwise]:
            operators.register(name)(lambda node, _constants, _shapes: entry.of(node))
            return file(entry)

        return keep


relaxations = _Relaxations("relaxation", package="epsball.ops")
