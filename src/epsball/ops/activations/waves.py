"""Sine and cosine: the extreme of `sin(x) - s x` over an interval has a closed form, whatever its width."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from epsball.forms.interval import Interval
from epsball.ops.elementwise import Elementwise, relaxations
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope
from epsball.types import Tensor

_TURN = 2 * math.pi
_SAMPLES = 8


class Wave(Elementwise):
    """`cos(x - peak)`; extremes of `f(x) - s x` lie at the ends or where `f'(x) = s`, once on each side of a peak."""

    peak: ClassVar[float]

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """f'(x)."""

    def image(self, pre: Interval) -> Interval:
        l, u = pre
        at_l, at_u = self(l), self(u)
        high = torch.where(_holds(l, u, self.peak), 1.0, torch.maximum(at_l, at_u))
        low = torch.where(_holds(l, u, self.peak + math.pi), -1.0, torch.minimum(at_l, at_u))
        return Interval(low, high)

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        upper_slope, upper_bias = self._above(*pre, 1.0)
        lower_slope, lower_bias = self._above(*pre, -1.0)
        return Lines(-lower_slope, -lower_bias, upper_slope, upper_bias)

    def _above(self, l: Tensor, u: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        """A line above `sign * f`: the slope of its concave envelope in the middle, and the exact bias."""
        slope = self._slope(l, u, sign)
        bias = torch.maximum(sign * self(l) - slope * l, sign * self(u) - slope * u)
        # sign * f = cos(x - top); right of a peak it falls, so its derivative is s at top - asin(s), where it is concave
        top = self.peak + (0.0 if sign > 0 else math.pi)
        with torch.no_grad():
            offset = top - torch.asin(slope.clamp(-1, 1))
            first = offset + _TURN * torch.ceil((l - offset) / _TURN)
            last = offset + _TURN * torch.floor((u - offset) / _TURN)
        height = torch.sqrt((1 - slope * slope).clamp(min=torch.finfo(l.dtype).eps))
        for d in (first, last):
            inside = (d >= l) & (d <= u)
            bias = torch.where(inside, torch.maximum(bias, height - slope * d), bias)
        return slope, bias

    @torch.no_grad()
    def _slope(self, l: Tensor, u: Tensor, sign: float) -> Tensor:
        m = torch.lerp(l, u, 0.5)
        right = torch.stack([torch.lerp(u, m, k / _SAMPLES) for k in range(_SAMPLES)])
        beyond, at_right = right - m, sign * self(right)
        best, here = torch.full_like(m, -math.inf), sign * self(m)
        slope = sign * self.derivative(m)
        for k in range(_SAMPLES):
            left = torch.lerp(l, m, k / _SAMPLES)
            at_left, run = sign * self(left), right - left
            height = (at_left * beyond + at_right * (m - left)) / torch.where(run > 0, run, 1.0)
            high, index = torch.where((beyond > 0) & (left < m), height, -math.inf).max(0)
            rise = (at_right - at_left) / torch.where(run > 0, run, 1.0)
            slope = torch.where((high > best) & (high > here), rise.gather(0, index[None])[0], slope)
            best = torch.maximum(best, high)
        flat = u - l <= (1 + m.abs()) * torch.finfo(l.dtype).eps ** 0.5
        wide = u - l >= _TURN
        return torch.where(wide, 0.0, torch.where(flat, sign * self.derivative(m), slope)).clamp(-1, 1)


def _holds(l: Tensor, u: Tensor, point: float) -> Tensor:
    """Whether [l, u] holds `point + 2 k pi` for a whole k, or nearly so."""
    slack = 1e-6 + 8 * torch.finfo(l.dtype).eps * torch.maximum(l.abs(), u.abs())
    first = point + _TURN * torch.ceil((l - slack - point) / _TURN)
    return first <= u + slack


@relaxations.register("sin")
@dataclass(frozen=True)
class Sin(Wave):
    """`sin(x)`."""

    peak = math.pi / 2

    def __call__(self, x: Tensor) -> Tensor:
        return x.sin()

    def derivative(self, x: Tensor) -> Tensor:
        return x.cos()


@relaxations.register("cos")
@dataclass(frozen=True)
class Cos(Wave):
    """`cos(x)`."""

    peak = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        return x.cos()

    def derivative(self, x: Tensor) -> Tensor:
        return -x.sin()
