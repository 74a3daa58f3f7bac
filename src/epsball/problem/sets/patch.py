"""Patches: a square anywhere on the picture may take any value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import avg_pool2d, conv_transpose2d

from epsball.errors import BadConfig, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.problem.sets.base import Range, check_inputs, halves, needs_range, outward, within

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class Patch:
    """One size x size square of each picture, all channels of it, may take any value of the valid range; nothing else changes.

    Args:
        x: (B, C, H, W).
        size: side of the square, in pixels.
        clip: the valid range (low, high).

    Raises:
        BadShape: x is no batch of pictures.
        BadConfig: the square is larger than the picture, or there is no valid range.
        BadData: NaN, infinity, inputs outside the valid range.
    """

    x: Tensor
    size: int
    clip: Range = (0.0, 1.0)
    lower: Tensor = field(init=False, repr=False)
    upper: Tensor = field(init=False, repr=False)
    allowed: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        low, high = needs_range(self.clip, "a patch")
        check_inputs(self.x, self.clip)
        if self.x.dim() != 4:
            raise BadShape(f"a patch lies on pictures (B, C, H, W), not on {tuple(self.x.shape)}", fix="give the data's own shape")
        if not 1 <= self.size <= min(self.x.shape[2:]):
            height, width = self.x.shape[2:]
            raise BadConfig(
                f"no {self.size} x {self.size} patch on a {height} x {width} picture", fix="give 1 up to the shorter side"
            )
        object.__setattr__(self, "lower", torch.full_like(self.x, low))
        object.__setattr__(self, "upper", torch.full_like(self.x, high))
        places = [n - self.size + 1 for n in self.x.shape[2:]]
        object.__setattr__(self, "allowed", torch.ones(len(self.x), *places, dtype=torch.bool, device=self.x.device))

    @classmethod
    def _with_limits(cls, like: Patch, x: Tensor, lower: Tensor, upper: Tensor, allowed: Tensor) -> Patch:
        patch = object.__new__(cls)
        values = {"x": x, "size": like.size, "clip": like.clip, "lower": lower, "upper": upper, "allowed": allowed}
        for name, value in values.items():
            object.__setattr__(patch, name, value)
        return patch

    @property
    def centre(self) -> Tensor:
        return self.project(self.x) if bool(self._must().any()) else self.x

    @property
    def is_box(self) -> bool:
        """A square in one known place is a box."""
        return bool((self.allowed.flatten(1).sum(1) == 1).all())

    def _must(self) -> Tensor:
        """Features that the limits, after a split, do not let stay."""
        return (self.x < self.lower) | (self.x > self.upper)

    def _over(self, values: Float[Tensor, "N C H W"]) -> Float[Tensor, "N h w"]:
        """Sums over the square at every position."""
        return avg_pool2d(values.sum(1, keepdim=True), self.size, stride=1, divisor_override=1)[:, 0]

    def _allowed(self) -> Tensor:
        """(B, h, w): positions of this cell whose square holds every feature that must move."""
        must = self._must().to(self.x.dtype)
        return self.allowed & (self._over(must) == must.flatten(1).sum(1)[:, None, None])

    def _square(self, position: Tensor) -> Tensor:
        """(B, 1, H, W): the square at each sample's flat position."""
        height, width = self.x.shape[2:]
        row, column = position.div(width - self.size + 1, rounding_mode="floor"), position.remainder(width - self.size + 1)
        spans = [(torch.arange(n, device=self.x.device) - start[:, None]) for n, start in ((height, row), (width, column))]
        rows, columns = ((span >= 0) & (span < self.size) for span in spans)
        return (rows[:, :, None] & columns[:, None, :])[:, None]

    def hull(self) -> Interval:
        where = self._allowed().to(self.x.dtype)[:, None]
        covered = conv_transpose2d(where, where.new_ones(1, 1, self.size, self.size)) > 0
        return Interval(torch.where(covered, self.lower, self.x), torch.where(covered, self.upper, self.x))

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """The square of the largest gain: the gains of its features summed at every position by pooling."""
        rows = rows.dense()
        low, high = rows.at(self.lower - self.x), rows.at(self.upper - self.x)
        gains = self._over(torch.minimum(rows.values * low, rows.values * high).flatten(0, 1))
        gains = gains.view(*rows.values.shape[:2], *gains.shape[1:])
        best = torch.where(rows.at(self._allowed()), gains, math.inf).flatten(2).amin(2)
        return rows.dot(self.x) + best

    def project(self, x: Tensor) -> Tensor:
        """The nearest picture with one square: the one that saves most. A square that holds every change is always the nearest."""
        there = torch.minimum(torch.maximum(x, self.lower), self.upper)
        saved = self._over((x - self.x).double().square() - (x - there).double().square())
        changed = (x != self.x).double()
        whole = self._over(changed) == changed.flatten(1).sum(1)[:, None, None]
        score = torch.where(whole, saved + (1 + saved.abs().amax((1, 2), keepdim=True)), saved)
        score = torch.where(self._allowed(), score, -math.inf)
        return torch.where(self._square(score.flatten(1).argmax(1)), there, self.x)

    def sample(self, generator: torch.Generator) -> Tensor:
        allowed = self._allowed().flatten(1)
        draw = torch.rand(allowed.shape, generator=generator, dtype=self.x.dtype, device=self.x.device)
        position = torch.where(allowed, draw, -1.0).argmax(1)
        share = torch.rand(self.x.shape, generator=generator, dtype=self.x.dtype, device=self.x.device)
        anywhere = torch.minimum(torch.maximum(torch.lerp(self.lower, self.upper, share), self.lower), self.upper)
        return torch.where(self._square(position), anywhere, self.x)

    def split(self, axis: int) -> tuple[Patch, Patch]:
        """Halves by the value of one feature: where x itself lies outside a half, the square must cover that feature."""
        hull, parts = self.hull(), []
        for half in halves(self.x, hull, axis):
            cut = (half.lower != hull.lower) | (half.upper != hull.upper)
            lower, upper = torch.where(cut, half.lower, self.lower), torch.where(cut, half.upper, self.upper)
            parts.append(Patch._with_limits(self, self.x, lower, upper, self.allowed))
        return parts[0], parts[1]

    def cells(self, count: int) -> tuple[Patch, Int[Tensor, " N"]]:
        """Blocks of neighbouring positions, `count` along each side, and the sample that each belongs to.

        Together they are the set, and the hull of each is little larger than a square: relaxations, which forget that only one
        square changes, lose less there. With as many blocks as positions every cell is a box.

        Raises:
            BadConfig: less than one cell.
        """
        if count < 1:
            raise BadConfig(f"{count} cells", fix="give 1 or more")
        sizes = self.allowed.shape[1:]
        blocks = [torch.arange(n, device=self.x.device) * min(count, n) // n for n in sizes]
        rows, columns = (block == torch.arange(int(block[-1]) + 1, device=self.x.device)[:, None] for block in blocks)
        places = (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)
        owner = torch.arange(len(self.x), device=self.x.device).repeat_interleave(len(places))
        whole = self.take(owner)
        allowed = whole.allowed & places.repeat(len(self.x), 1, 1)
        return Patch._with_limits(self, whole.x, whole.lower, whole.upper, allowed), owner

    def inner(self) -> Patch:
        return self

    def holds(self, x: Tensor) -> Tensor:
        changed = (x != self.x).to(self.x.dtype)
        held = self._over(changed) == changed.flatten(1).sum(1)[:, None, None]  # counts: exact
        free = torch.where(changed > 0, x, self.lower)
        return within(free, Interval(self.lower, self.upper)) & (held & self._allowed()).flatten(1).any(1)

    def take(self, index: Tensor) -> Patch:
        return Patch._with_limits(self, self.x[index], self.lower[index], self.upper[index], self.allowed[index])

    def to(self, dtype: torch.dtype, device: torch.device) -> Patch:
        if dtype == self.x.dtype:
            return Patch._with_limits(
                self, self.x.to(device), self.lower.to(device), self.upper.to(device), self.allowed.to(device)
            )
        lower, upper = outward(self.lower, dtype, -math.inf), outward(self.upper, dtype, math.inf)
        return Patch._with_limits(self, self.x.to(device, dtype), lower.to(device), upper.to(device), self.allowed.to(device))
