"""Sets of inputs, kept in rationals: what a point must satisfy is asked of `fractions.Fraction`, never of a float."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

import epsball


@dataclass(frozen=True)
class Region:
    """One set a sample: a linf, l2 or l1 ball of radius eps, or a box with a radius a feature, cut to a valid range."""

    kind: str
    centre: Tensor
    eps: float
    radius: Tensor | None = None
    clip: tuple[float, float] | None = None

    def scaled(self, factor: float) -> Region:
        radius = None if self.radius is None else self.radius * factor
        return replace(self, eps=self.eps * factor, radius=radius)

    def epsball(self) -> epsball.Box | epsball.LpBall:
        if self.radius is not None:
            return epsball.Box(self.centre, self.radius, clip=self.clip)
        return epsball.LpBall(self.centre, self.eps, norm=self.kind, clip=self.clip)

    def radii(self) -> Tensor:
        """The radius of every feature, in float64: exact, since eps is a Python float."""
        wide = torch.full_like(self.centre, self.eps, dtype=torch.float64)
        return wide if self.radius is None else self.radius.double().expand_as(self.centre)

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """The largest box of numbers of the inputs' type that lies in the exact bounding box."""
        lows, highs = [], []
        for c, r in zip(self.centre.flatten().tolist(), self.radii().flatten().tolist(), strict=True):
            low, high = Fraction(c) - Fraction(r), Fraction(c) + Fraction(r)
            if self.clip is not None:
                low, high = max(low, Fraction(self.clip[0])), min(high, Fraction(self.clip[1]))
            lows.append(inward(low, self.centre.dtype, up=True))
            highs.append(inward(high, self.centre.dtype, up=False))
        shape = self.centre.shape
        low, high = (torch.tensor(side, dtype=self.centre.dtype).view(shape) for side in (lows, highs))
        return low, high

    def contains(self, sample: int, point: Tensor) -> bool:
        """Whether a point lies in the set of a sample, in rationals."""
        centre = [Fraction(v) for v in self.centre[sample].flatten().tolist()]
        values = [Fraction(v) for v in point.flatten().tolist()]
        moves = [abs(v - c) for v, c in zip(values, centre, strict=True)]
        if self.clip is not None and any(not Fraction(self.clip[0]) <= v <= Fraction(self.clip[1]) for v in values):
            return False
        if self.kind == "l2":
            return sum(m * m for m in moves) <= Fraction(self.eps) ** 2
        if self.kind == "l1":
            return sum(moves) <= Fraction(self.eps)
        radii = [Fraction(r) for r in self.radii()[sample].flatten().tolist()]
        return all(m <= r for m, r in zip(moves, radii, strict=True))

    def pull(self, sample: int, points: Tensor) -> Tensor:
        """Points (n, *x) moved into the set of one sample; of balls that aren't boxes a hair inside."""
        low, high = self.ends
        if self.kind in ("l2", "l1"):
            move = (points - self.centre[sample]).flatten(1).double()
            length = move.norm(dim=1) if self.kind == "l2" else move.abs().sum(1)
            hair = 1 - 8 * torch.finfo(self.centre.dtype).eps
            share = (self.eps * hair / length.clamp(min=1e-300)).clamp(max=1.0)
            moved = self.centre[sample].double() + (move * share[:, None]).view(points.shape)
            points = moved.to(self.centre.dtype)
        return points.clamp(low[sample], high[sample])


def inward(value: Fraction, dtype: torch.dtype, *, up: bool) -> float:
    """The number of a type nearest to a rational, on its given side."""
    near = torch.tensor(float(value), dtype=dtype)
    goal = torch.tensor(float("inf") if up else float("-inf"), dtype=dtype)
    while (Fraction(near.item()) < value) if up else (Fraction(near.item()) > value):
        near = torch.nextafter(near, goal)
    return near.item()
