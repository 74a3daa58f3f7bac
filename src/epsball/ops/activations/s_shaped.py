"""Sigmoid, tanh, erf and atan: convex left of 0, concave right of it, and odd around their centre.

Above, on [l, u]:  u <= 0: the chord;  l >= 0: the tangent in the middle;  else the tangent from (l, f(l)) at a point d > 0, or the
chord where u lies left of that point. d is found by bisection and kept on the side where the tangent is above f(l), so the line is
sound after any number of steps. Below is above, turned by 180 degrees.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch

from epsball.forms.interval import Interval
from epsball.ops.elementwise import Elementwise, relaxations
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope
from epsball.types import Tensor

_STEPS = 40


class SShaped(Elementwise):
    """A function that is convex, then concave, with its inflection at 0: its derivative falls on either side of it."""

    centre: float

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """f'(x)."""

    def slopes(self, pre: Interval) -> Interval:
        """The derivative is largest nearest to 0, least at an end."""
        ends = self.derivative(pre.lower), self.derivative(pre.upper)
        nearest = torch.zeros_like(pre.lower).clamp(min=pre.lower, max=pre.upper)
        return Interval(torch.minimum(*ends), self.derivative(nearest))

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        upper_slope, upper_bias = self._above(pre.lower, pre.upper)
        lower_slope, turned = self._above(-pre.upper, -pre.lower)
        return Lines(lower_slope, 2 * self.centre - turned, upper_slope, upper_bias)

    def _above(self, l: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        middle = torch.lerp(l, u, 0.5)
        at_l, at_u = self(l), self(u)
        touch = torch.where(l >= 0, middle, torch.maximum(self._touching(l, u), middle))
        reaches = self._tangent_at(touch, l) >= at_l  # the tangent is above the left end
        chord = (u <= 0) | ((l < 0) & ~reaches)
        width = u - l
        flat = width <= 1e-3 * (1 + middle.abs()) * torch.finfo(l.dtype).eps ** 0.25
        steep = (at_u - at_l) / torch.where(flat, 1.0, width)
        slope = torch.where(chord, torch.where(flat, self.derivative(middle), steep), self.derivative(touch))
        ends = torch.maximum(at_l - slope * l, at_u - slope * u)
        bias = torch.where(chord, ends, torch.maximum(self(touch) - slope * touch, ends))
        return slope, bias

    def _tangent_at(self, d: Tensor, x: Tensor) -> Tensor:
        return self(d) + self.derivative(d) * (x - d)

    @torch.no_grad()
    def _touching(self, l: Tensor, u: Tensor) -> Tensor:
        """The least found d in [0, u] whose tangent is above f at l; u where there is none."""
        target = self(l)
        low, high = torch.zeros_like(u), u.clamp(min=0)
        for _ in range(_STEPS):
            d = torch.lerp(low, high, 0.5)
            above = self._tangent_at(d, l) >= target
            low, high = torch.where(above, low, d), torch.where(above, d, high)
        return high


@relaxations.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(SShaped):
    """`1 / (1 + exp(-x))`."""

    centre = 0.5

    def __call__(self, x: Tensor) -> Tensor:
        return x.sigmoid()

    def derivative(self, x: Tensor) -> Tensor:
        s = x.sigmoid()
        return s * (1 - s)


@relaxations.register("tanh")
@dataclass(frozen=True)
class Tanh(SShaped):
    """`tanh(x)`."""

    centre = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.tanh()

    def derivative(self, x: Tensor) -> Tensor:
        return 1 - x.tanh().square()


@relaxations.register("erf")
@dataclass(frozen=True)
class Erf(SShaped):
    """The error function."""

    centre = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return torch.erf(x)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x) * (2 / math.sqrt(math.pi))


@relaxations.register("atan")
@dataclass(frozen=True)
class Atan(SShaped):
    """The arc tangent."""

    centre = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return torch.atan(x)

    def derivative(self, x: Tensor) -> Tensor:
        return 1 / (1 + x * x)
