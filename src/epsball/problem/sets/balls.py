"""Balls around inputs, in four norms, cut to the valid range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.problem.sets.base import NORMS, Clip, Norm, halves, needs_range, round_outward, within
from epsball.problem.sets.box import Box
from epsball.problem.sets.norms import L0, L1, L2, Geometry
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.problem.sets.base import InputSet

_GEOMETRIES: dict[Norm, Geometry] = {"l2": L2(), "l1": L1(), "l0": L0()}


def near_enough(x: Tensor, centre: Tensor, eps: float, norm: Norm) -> bool:
    """Whether one input (*x) is as near to another as an l2, l1 or l0 ball asks: in rationals, which have no rounding."""
    moves = [Fraction(a) - Fraction(b) for a, b in zip(x.flatten().tolist(), centre.flatten().tolist(), strict=True) if a != b]
    if norm == "l2":
        return sum(move * move for move in moves) <= Fraction(eps) ** 2
    return (len(moves) if norm == "l0" else sum(map(abs, moves))) <= Fraction(eps)


@dataclass(frozen=True, eq=False)
class LpBall:
    """`||x' - x||_p <= eps`, cut to the valid range.

    Args:
        x: (B, *x).
        eps: radius, in the units of x; for "l0" the number of features that may change, to anything in the valid range.
        norm: "linf", "l2", "l1" or "l0".
        clip: the valid range (low, high), or None. Inputs outside it are an error.

    Raises:
        BadData: NaN, infinity, inputs outside the valid range.
        BadConfig: eps is negative, not finite, or for "linf" wider than the valid range; the norm is unknown, or an "l0" ball
            without a range or with a broken eps.
    """

    x: Tensor
    eps: float
    norm: Norm = "linf"
    clip: Clip = None
    box: Box = field(init=False, repr=False)
    cut: Interval | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise BadConfig(
                f"eps must be a finite number of at least 0, not {self.eps}",
                fix="give a radius in units of the inputs, such as 8/255",
            )
        if self.norm not in NORMS:
            raise BadConfig(f"unknown norm {self.norm!r}", fix=f"use {', '.join(NORMS)}")
        if self.norm == "linf" and self.clip is not None and self.eps > self.clip[1] - self.clip[0]:
            raise BadConfig(
                f"eps {self.eps:g} is larger than the whole valid range {self.clip}",
                where="eps",
                fix="eps is in units of the inputs: 8/255, not 8; or give their own range, or clip=None",
            )
        reach = self.eps
        if self.norm == "l0":
            low, high = needs_range(self.clip, "an l0 ball")
            if not float(self.eps).is_integer():
                raise BadConfig(f"an l0 ball changes a whole number of features, not {self.eps}", fix="give eps=1, 2, 3, ...")
            reach = high - low if self.eps else 0.0
        object.__setattr__(self, "box", Box(self.x, reach, self.clip))
        object.__setattr__(self, "cut", None)

    @property
    def centre(self) -> Tensor:
        return self.x if self.cut is None else torch.minimum(torch.maximum(self.x, self.cut.lower), self.cut.upper)

    @property
    def is_box(self) -> bool:
        return self.norm == "linf"

    def hull(self) -> Interval:
        return self.box.hull()

    def _limits(self) -> tuple[Tensor, Tensor]:
        """How far each element may move down and up (flat, (B, d)), before the norm counts."""
        if self.cut is not None:
            return (self.cut.lower - self.x).flatten(1), (self.cut.upper - self.x).flatten(1)
        if self.clip is None:
            free = torch.full_like(self.x, math.inf).flatten(1)
            return -free, free
        return (self.clip[0] - self.x).flatten(1), (self.clip[1] - self.x).flatten(1)

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """Linf: `<a, c> - <|a|, r>` of the box. Otherwise `<a, x>` plus the least of `<a, d>` over the ball and the valid range."""
        if self.norm == "linf":
            return self.box.minimise(rows)
        rows = rows.dense()
        low, high = (rows.at(t) for t in self._limits())
        return rows.dot(self.x) + _GEOMETRIES[self.norm].least(rows.values.flatten(2), low, high, self._radius())

    def _radius(self) -> float:
        """Eps, a little larger where a float32 computation could round it inwards."""
        return self.eps if self.norm == "l0" else self.eps * (1 + 4 * torch.finfo(self.x.dtype).eps)

    def project(self, x: Tensor) -> Tensor:
        if self.norm == "linf":
            return self.box.project(x)
        moved = _GEOMETRIES[self.norm].nearest((x - self.x).flatten(1), *self._limits(), self.eps)
        return self._within(self.x + moved.view_as(x))

    def _within(self, x: Tensor) -> Tensor:
        """What rounding moved over an end, put back."""
        if self.cut is not None:
            return torch.minimum(torch.maximum(x, self.cut.lower), self.cut.upper)
        return x if self.clip is None else x.clamp(*self.clip)

    def sample(self, generator: torch.Generator) -> Tensor:
        if self.norm == "linf":
            return self.box.sample(generator)
        moved = _GEOMETRIES[self.norm].draw(*self._limits(), self.eps, generator)
        return self.project(self.x + moved.view_as(self.x))

    def split(self, axis: int) -> tuple[InputSet, InputSet]:
        """Halves of a linf ball are boxes; those of others are the ball cut by half of its hull, whose every method stays exact."""
        if self.norm == "linf":
            return self.box.split(axis)
        low, high = halves(self.x, self.hull(), axis)
        return self._cut_to(low), self._cut_to(high)

    def _cut_to(self, cut: Interval) -> LpBall:
        x, eps = self.x.double(), self.eps * (1 + 1e-12) if self.norm != "l0" else self.eps
        low, high = ((end.double() - x).flatten(1) for end in cut)
        reach = _GEOMETRIES[self.norm].reach(low, high, eps).view_as(x)
        lower = torch.maximum(cut.lower, round_outward(x - reach, self.x.dtype, -math.inf))
        upper = torch.minimum(cut.upper, round_outward(x + reach, self.x.dtype, math.inf))
        still = reach == 0
        lower, upper = torch.where(still, self.x, lower), torch.where(still, self.x, upper)
        return LpBall._with_box(self, self.x, Box.between(lower, upper), cut)

    def inner(self) -> LpBall:
        shrunk = LpBall._with_box(self, self.x, self.box.inner(), self.cut)
        if self.norm in ("l1", "l2"):
            object.__setattr__(shrunk, "eps", self.eps * (1 - 8 * torch.finfo(self.x.dtype).eps))
        return shrunk

    def holds(self, x: Tensor) -> Tensor:
        inside = self.box.holds(x) if self.cut is None else self.box.holds(x) & within(x, self.cut)
        if self.norm == "linf":
            return inside
        near = [bool(i) and near_enough(a, b, self.eps, self.norm) for i, a, b in zip(inside, x, self.x, strict=True)]
        return torch.tensor(near, dtype=torch.bool, device=x.device)

    def take(self, index: Tensor) -> LpBall:
        cut = None if self.cut is None else Interval(*(end[index] for end in self.cut))
        return LpBall._with_box(self, self.x[index], self.box.take(index), cut)

    def to(self, dtype: torch.dtype, device: torch.device) -> LpBall:
        cut = None if self.cut is None else Box.between(*self.cut).to(dtype, device).hull()
        return LpBall._with_box(self, self.x.to(device, dtype), self.box.to(dtype, device), cut)

    @classmethod
    def _with_box(cls, like: LpBall, x: Tensor, box: Box, cut: Interval | None) -> LpBall:
        ball = object.__new__(cls)
        for name, value in (("x", x), ("eps", like.eps), ("norm", like.norm), ("clip", like.clip), ("box", box), ("cut", cut)):
            object.__setattr__(ball, name, value)
        return ball
