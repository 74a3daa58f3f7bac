"""ReLU and leaky ReLU: the triangle's chord above, a line through the origin below (Zhang et al. 2018, Wong and Kolter 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import leaky_relu

from epsball.forms.interval import Interval
from epsball.graph.graph import Node
from epsball.ops.elementwise import Elementwise, relaxations
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope, unsupported
from epsball.rounding import SLACK, Rounding
from epsball.types import Tensor


@relaxations.register("leaky_relu")
@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """`max(x, a x)` with `0 <= a <= 1`.

    With `s = u+ / (u+ - l-)` the chord has slope `a + (1 - a) s` and bias `-(1 - a) l- s`; s is 1 for an active unit and 0 for an
    inactive one, so no case is special.
    """

    negative_slope: float = 0.01

    @property
    def leak(self) -> float:
        return self.negative_slope

    @classmethod
    def of(cls, node: Node) -> LeakyRelu:
        """The operator of a node.

        Raises:
            UnsupportedOp: a slope outside [0, 1], where the function is not convex or not monotone.
        """
        slope = node.attrs["slope"]
        if not 0 <= slope <= 1:
            raise unsupported(node, f"negative_slope {slope} is outside [0, 1]", "leaky_relu with a slope in [0, 1]")
        return cls(slope)

    def __call__(self, x: Tensor) -> Tensor:
        return leaky_relu(x, self.negative_slope)

    def linear(self, *pre: Interval) -> Tensor:
        return (pre[0].lower >= 0) | (pre[0].upper <= 0)

    def slopes(self, pre: Interval) -> Interval:
        """From a to 1; both at the kink."""
        one = torch.ones_like(pre.lower)
        least = self.negative_slope * one
        return Interval(torch.where(pre.lower > 0, one, least), torch.where(pre.upper < 0, least, one))

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        low, high = pre.lower.clamp(max=0), pre.upper.clamp(min=0)
        share = high / (high - low).clamp(min=torch.finfo(high.dtype).tiny)
        below = _below(share, slope)
        bias = -low * share
        a = self.negative_slope
        if a == 0:
            return Lines(below, None, share, bias)
        return Lines(a + (1 - a) * below, None, a + (1 - a) * share, (1 - a) * bias)

    def room(self, lines: Lines, pre: Interval) -> tuple[Tensor, Tensor]:
        """ReLU itself is exact and so is its lower line; the chord is off by a few units of what it is computed from."""
        if self.negative_slope != 0 or self.rounding is None or lines.upper_bias is None:
            return super().room(lines, pre)
        return torch.zeros_like(pre.upper), _chord_room(lines.upper_bias, pre, self.rounding, 0.0)

    def outer(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        if self.negative_slope != 0 or self.rounding is None:
            return super().outer(pre, slope)
        lines = self.lines(pre, slope)
        if lines.upper_bias is None:
            raise TypeError("the chord of a ReLU has a bias")
        return lines._replace(upper_bias=_chord_room(lines.upper_bias, pre, self.rounding, 1.0))


@relaxations.register("relu")
@dataclass(frozen=True)
class Relu(LeakyRelu):
    """`max(x, 0)`."""

    exact = True
    positive = True
    negative_slope: float = 0.0

    @classmethod
    def of(cls, node: Node) -> Relu:  # noqa: ARG003
        return cls()

    def __call__(self, x: Tensor) -> Tensor:
        return x.relu()


def _chord_room(bias: Tensor, pre: Interval, rounding: Rounding, times: float) -> Tensor:
    """What a ReLU's chord and the sum of its biases are off by, and so many times the bias itself."""
    sums = rounding.gamma(0, bias[0].numel() + rounding.running)
    return torch.add(bias * (times + sums), pre.upper.clamp(min=0), alpha=rounding.gamma(0, SLACK))


def _below(share: Tensor, slope: Slope) -> Tensor:
    """Slope of the lower line of a ReLU, exact where the unit is stable (share 0 or 1)."""
    if slope == "same":
        return share
    threshold = {"adaptive": share > 0.5, "zero": share >= 1, "one": share > 0}[slope]
    return threshold.to(share.dtype)
