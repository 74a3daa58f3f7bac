"""Functions that are convex on some pieces of the line and concave on the others: one machinery for all of them.

A line above f on [l, u] is a slope s and a bias. Any slope is sound with the bias `max over [l, u] of f(x) - s x`, and that
maximum is known piece by piece. On a convex piece it lies at an end. On a concave one f lies below its tangent at any d, so the
larger end of `f(d) + f'(d) (x - d) - s x` bounds it, and is attained where f'(d) = s. d comes from bisection, but no d is unsound.

The slope is that of the concave envelope of f at the middle m of [l, u], which leaves the least area: f'(m) where the envelope
touches f at m, else that of the highest chord over m, found among samples of both halves. Below is above, for -f.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch

from epsball.forms.interval import Interval
from epsball.ops.elementwise import Elementwise
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope
from epsball.types import Tensor

_STEPS = 20  # of bisection: the bias is off by the square of what is left
_SAMPLES = 8  # of each half: the slope found leaves at most a fiftieth more area


class Piece(NamedTuple):
    """A part of the line on which a function is convex, or concave."""

    low: float
    high: float
    convex: bool


CONVEX = (Piece(-math.inf, math.inf, convex=True),)
CONCAVE = (Piece(-math.inf, math.inf, convex=False),)


class Curved(Elementwise):
    """A function with known convexity.

    Attributes:
        pieces: cover the function's domain, in order.
        knots: where it is not smooth.
        stationary: local extremes: f is monotone between them.
        samples: of each half, where a slope must be searched.
    """

    pieces: ClassVar[tuple[Piece, ...]]
    knots: ClassVar[tuple[float, ...]] = ()
    stationary: ClassVar[tuple[float, ...]] = ()
    samples: ClassVar[int] = _SAMPLES

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """f'(x), finite everywhere; at a knot anything between the two one-sided ones."""

    def defined(self, pre: Interval) -> Tensor | None:
        """Mask of the boxes on which f is defined and finite, or None for all. Elsewhere every bound is infinite."""
        return None

    def image(self, pre: Interval) -> Interval:
        box, known = self._safe(pre)
        ends = [self(box.lower), self(box.upper)]
        ends += [self(torch.minimum(box.lower.clamp(min=c), box.upper)) for c in self._extremes()]
        low, high = ends[0], ends[0]
        for end in ends[1:]:
            low, high = torch.minimum(low, end), torch.maximum(high, end)
        if known is None:
            return Interval(low, high)
        return Interval(torch.where(known, low, -math.inf), torch.where(known, high, math.inf))

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        box, known = self._safe(pre)
        upper_slope, upper_bias = self._above(box.lower, box.upper, 1.0)
        lower_slope, lower_bias = self._above(box.lower, box.upper, -1.0)
        lines = Lines(-lower_slope, -lower_bias, upper_slope, upper_bias)
        if known is None:
            return lines
        flat, infinite = (0.0, 0.0), (-math.inf, math.inf)
        return Lines(
            torch.where(known, -lower_slope, flat[0]),
            torch.where(known, -lower_bias, infinite[0]),
            torch.where(known, upper_slope, flat[1]),
            torch.where(known, upper_bias, infinite[1]),
        )

    def _extremes(self) -> tuple[float, ...]:
        return self.stationary

    def _parts(self) -> tuple[Piece, ...]:
        return self.pieces

    def _safe(self, pre: Interval) -> tuple[Interval, Tensor | None]:
        """The box with a harmless one where f is not defined, and where it is."""
        known = self.defined(pre)
        if known is None:
            return pre, None
        return Interval(torch.where(known, pre.lower, 1.0), torch.where(known, pre.upper, 1.0)), known

    def _above(self, l: Tensor, u: Tensor, sign: float) -> tuple[Tensor, Tensor]:
        """A line above `sign * f` on [l, u]."""
        slope = self._slope(l, u, sign)
        parts = self._parts()
        bias: Tensor | None = None
        for piece in parts:
            a, b = (torch.minimum(l.clamp(min=end), u) if math.isfinite(end) else e for end, e in ((piece.low, l), (piece.high, u)))
            at_a, at_b = sign * self(a) - slope * a, sign * self(b) - slope * b
            if piece.convex != (sign > 0):
                d = torch.lerp(l, u, 0.5) if len(parts) == 1 else self._touching(slope, a, b, sign)
                value, tilt = sign * self(d), sign * self.derivative(d)
                at_a = torch.maximum(at_a, value + tilt * (a - d) - slope * a)
                at_b = torch.maximum(at_b, value + tilt * (b - d) - slope * b)
            highest = torch.maximum(at_a, at_b)
            bias = highest if bias is None else torch.maximum(bias, highest)
        if bias is None:
            raise TypeError(f"{type(self).__name__} has no pieces")
        return slope, bias

    @torch.no_grad()
    def _touching(self, slope: Tensor, a: Tensor, b: Tensor, sign: float) -> Tensor:
        """Where the derivative of the concave `sign * f` equals a slope on [a, b], or the nearer end."""
        low, high = a, b
        for _ in range(_STEPS):
            d = torch.lerp(low, high, 0.5)
            right = sign * self.derivative(d) > slope
            low, high = torch.where(right, d, low), torch.where(right, high, d)
        return torch.lerp(low, high, 0.5)

    def _slope(self, l: Tensor, u: Tensor, sign: float) -> Tensor:
        m = torch.lerp(l, u, 0.5)
        tangent = sign * self.derivative(m)
        parts = self._parts()
        if len(parts) == 1 and parts[0].convex != (sign > 0):
            return tangent
        flat = u - l <= (1 + m.abs()) * torch.finfo(l.dtype).eps ** 0.5
        chord = sign * (self(u) - self(l)) / torch.where(flat, 1.0, u - l)
        if len(parts) == 1:
            return torch.where(flat, tangent, chord)
        left, right, touches = self._bridge(l.detach(), m.detach(), u.detach(), sign)
        whole = (left == l) & (right == u)
        steep = sign * (self(right) - self(left)) / torch.where(right > left, right - left, 1.0)
        return torch.where(flat | touches, tangent, torch.where(whole, chord, steep.detach()))

    @torch.no_grad()
    def _bridge(self, l: Tensor, m: Tensor, u: Tensor, sign: float) -> tuple[Tensor, Tensor, Tensor]:
        """The feet of the highest chord of `sign * f` over m, and whether f at m is no lower: two rounds, coarse and fine."""
        knots = {end for p in self._parts() for end in (p.low, p.high) if math.isfinite(end)} | set(self.knots)
        count = self.samples
        lefts = [torch.lerp(l, m, k / count) for k in range(count)] + [torch.minimum(l.clamp(min=k), m) for k in knots]
        rights = [torch.lerp(u, m, k / count) for k in range(count)] + [torch.maximum(u.clamp(max=k), m) for k in knots]
        apart = 1e-3 * (u - l)  # a foot any nearer to m is m, up to rounding
        left, right, best = self._highest(lefts, m, rights, sign, apart)
        if count > 1:
            cells = [(k - count) / count / count for k in range(2 * count + 1)]
            near = [torch.minimum(torch.maximum(left + (m - l) * c, l), m) if c else left for c in cells]
            far = [torch.maximum(torch.minimum(right + (u - m) * c, u), m) if c else right for c in cells]
            left, right, best = self._highest(near, m, far, sign, apart)
        return left, right, sign * self(m) >= best

    def _highest(
        self, lefts: list[Tensor], m: Tensor, rights: list[Tensor], sign: float, apart: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The feet and the height over m of the highest chord between two lists of points."""
        right = torch.stack(rights)
        at_right, beyond = sign * self(right), right - m
        feet, best = [lefts[0], rights[0]], torch.full_like(m, -math.inf)
        for left in lefts:
            run = right - left
            height = (sign * self(left) * beyond + at_right * (m - left)) / torch.where(run > 0, run, 1.0)
            high, index = torch.where((beyond > apart) & (m - left > apart), height, -math.inf).max(0)
            better = high > best
            best = torch.where(better, high, best)
            foot = right.gather(0, index[None])[0]
            feet = [torch.where(better, left, feet[0]), torch.where(better, foot, feet[1])]
        return feet[0], feet[1], best
