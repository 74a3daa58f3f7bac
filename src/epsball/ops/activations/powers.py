"""Squares, roots, reciprocals and powers. Outside a function's domain its bounds are infinite: nothing is proven there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from epsball.forms.interval import Interval
from epsball.ops.activations.curved import CONCAVE, CONVEX, Curved, Piece
from epsball.ops.elementwise import relaxations
from epsball.types import Tensor

_HALVES = (Piece(-math.inf, 0.0, convex=False), Piece(0.0, math.inf, convex=True))


def _least(like: Tensor) -> float:
    """The least positive number that a reciprocal's square of is finite."""
    return math.pow(torch.finfo(like.dtype).tiny, 0.25)


@relaxations.register("square")
@dataclass(frozen=True)
class Square(Curved):
    """`x ** 2`."""

    pieces = CONVEX
    stationary = (0.0,)

    def __call__(self, x: Tensor) -> Tensor:
        return x.square()

    def derivative(self, x: Tensor) -> Tensor:
        return 2 * x


@relaxations.register("sqrt")
@dataclass(frozen=True)
class Sqrt(Curved):
    """`sqrt(x)` for x >= 0."""

    pieces = CONCAVE

    def __call__(self, x: Tensor) -> Tensor:
        return x.sqrt()

    def derivative(self, x: Tensor) -> Tensor:
        return 0.5 * x.clamp(min=_least(x)).rsqrt()

    def defined(self, pre: Interval) -> Tensor | None:
        return pre.lower >= 0


@relaxations.register("rsqrt")
@dataclass(frozen=True)
class Rsqrt(Curved):
    """`1 / sqrt(x)` for x > 0."""

    pieces = CONVEX

    def __call__(self, x: Tensor) -> Tensor:
        return x.rsqrt()

    def derivative(self, x: Tensor) -> Tensor:
        return -0.5 * x.rsqrt() / x

    def defined(self, pre: Interval) -> Tensor | None:
        return pre.lower >= _least(pre.lower)


@relaxations.register("reciprocal")
@dataclass(frozen=True)
class Reciprocal(Curved):
    """`1 / x`, left or right of 0."""

    pieces = _HALVES

    def __call__(self, x: Tensor) -> Tensor:
        return _away(x).reciprocal()

    def derivative(self, x: Tensor) -> Tensor:
        return -_away(x).reciprocal().square()

    def defined(self, pre: Interval) -> Tensor | None:
        least = _least(pre.lower)
        return (pre.lower >= least) | (pre.upper <= -least)


@relaxations.register("pow")
@dataclass(frozen=True)
class Power(Curved):
    """`x ** p`: for a whole p everywhere (but at 0 for p < 0), for another p > 0 at x >= 0, for another p < 0 at x > 0."""

    exponent: float = 3.0

    def __call__(self, x: Tensor) -> Tensor:
        return (_away(x) if self.exponent < 0 else x).pow(self.exponent)

    def derivative(self, x: Tensor) -> Tensor:
        p = self.exponent
        if p < 0:
            return p * _away(x).pow(p - 1)
        return p * (x if float(p).is_integer() or p > 1 else x.clamp(min=_least(x))).pow(p - 1)

    def _parts(self) -> tuple[Piece, ...]:
        p = self.exponent
        if float(p).is_integer():
            if p % 2:
                return _HALVES
            return CONVEX if p > 0 else (_HALVES[0]._replace(convex=True), _HALVES[1])
        return CONCAVE if 0 < p < 1 else CONVEX

    def _extremes(self) -> tuple[float, ...]:
        return (0.0,) if self.exponent > 0 else ()

    def defined(self, pre: Interval) -> Tensor | None:
        whole, least = float(self.exponent).is_integer(), _least(pre.lower)
        largest = math.pow(torch.finfo(pre.lower.dtype).max, 0.5 / max(1.0, abs(self.exponent)))
        least = max(least, 1 / largest)
        small = (pre.lower >= -largest) & (pre.upper <= largest)
        if self.exponent < 0:
            right = pre.lower >= least
            return small & (right | (pre.upper <= -least) if whole else right)
        return small if whole else small & (pre.lower >= 0)


def _away(x: Tensor) -> Tensor:
    """0, the end of both pieces of a domain that leaves it out, as the least number that can be inverted."""
    return torch.where(x == 0, _least(x), x)
