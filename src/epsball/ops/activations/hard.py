"""Functions made of straight and quadratic pieces: clamp, abs, hardswish, sign."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn import functional as F

from epsball.forms.interval import Interval
from epsball.ops.activations.curved import CONCAVE, CONVEX, Curved, Piece
from epsball.ops.elementwise import Elementwise, relaxations
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope
from epsball.types import Tensor


@relaxations.register("clamp")
@dataclass(frozen=True)
class Clamp(Curved):
    """`min(max(x, low), high)`: clamp, hardtanh, ReLU6 and, scaled, hardsigmoid."""

    exact = True
    low: float = -1.0
    high: float = 1.0
    samples = 1

    def __call__(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)

    def derivative(self, x: Tensor) -> Tensor:
        return ((x > self.low) & (x < self.high)).to(x.dtype)

    def linear(self, *pre: Interval) -> Tensor:
        l, u = pre[0]
        return (u <= self.low) | (l >= self.high) | ((l >= self.low) & (u <= self.high))

    def _parts(self) -> tuple[Piece, ...]:
        if math.isinf(self.low):
            return CONCAVE
        if math.isinf(self.high):
            return CONVEX
        ends = (-math.inf, self.low, self.high, math.inf)  # straight between them, so convex as well as concave
        return tuple(Piece(a, b, convex=True) for a, b in pairwise(ends))


@relaxations.register("abs")
@dataclass(frozen=True)
class Abs(Curved):
    """`|x|`."""

    exact = True
    pieces = CONVEX
    knots = (0.0,)
    stationary = (0.0,)

    def __call__(self, x: Tensor) -> Tensor:
        return x.abs()

    def derivative(self, x: Tensor) -> Tensor:
        return x.sign()

    def linear(self, *pre: Interval) -> Tensor:
        return (pre[0].lower >= 0) | (pre[0].upper <= 0)


@relaxations.register("hardswish")
@dataclass(frozen=True)
class Hardswish(Curved):
    """`x min(max(x + 3, 0), 6) / 6`: 0, a parabola, x; its two knots are concave."""

    cancels = True
    pieces = (Piece(-math.inf, -3.0, convex=True), Piece(-3.0, 3.0, convex=True), Piece(3.0, math.inf, convex=True))
    knots = (-3.0, 3.0)
    stationary = (-1.5, -3.0)

    def __call__(self, x: Tensor) -> Tensor:
        return F.hardswish(x)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(x >= 3, 1.0, torch.where(x <= -3, 0.0, (2 * x + 3) / 6))

    def linear(self, *pre: Interval) -> Tensor:
        return (pre[0].lower >= 3) | (pre[0].upper <= -3) | (pre[0].lower == pre[0].upper)


@relaxations.register("sign")
@dataclass(frozen=True)
class Sign(Elementwise):
    """The sign, 0 at 0: a step, so its lines do not close in on it."""

    exact = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.sign()

    def linear(self, *pre: Interval) -> Tensor:
        return (pre[0].lower > 0) | (pre[0].upper < 0) | (pre[0].lower == pre[0].upper)

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        upper_slope, upper_bias = self._above(pre.lower, pre.upper)
        lower_slope, turned = self._above(-pre.upper, -pre.lower)
        return Lines(lower_slope, -turned, upper_slope, upper_bias)

    def _above(self, l: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """From the left end up to (0, 1), where that is less than 1 in the middle; else the value at the right end."""
        rises = (l < 0) & (u >= 0) & (u < -l)
        slope = torch.where(rises, 2 / torch.where(rises, -l, 1.0), 0.0)
        slope = slope.clamp(max=torch.finfo(l.dtype).max ** 0.25)
        return slope, torch.where(rises, torch.maximum(torch.ones_like(l), -1 - slope * l), u.sign())
