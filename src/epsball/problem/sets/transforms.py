"""Families of pictures over a few parameters: brightness and contrast, rotation and translation. Everything in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import torch

from epsball.forms.interval import Interval

if TYPE_CHECKING:
    from epsball.types import Float, Tensor

_ELEMENTS = 2**18  # of the pictures that are bounded together
_SAFE = 1e-9  # more than float64 can lose in these few operations, in pixels and in values of pixels


class PictureLines(NamedTuple):
    """`slope . p + low <= picture(p) <= slope . p + high` for every p of a cell: slope (B, k, *x), low and high (B, *x)."""

    slope: Tensor
    low: Tensor
    high: Tensor


class Transform(Protocol):
    """A picture as a function of k parameters; at 0 it is the nominal picture."""

    names: ClassVar[tuple[str, ...]]

    def apply(self, x: Float[Tensor, "N C H W"], p: Float[Tensor, "N k"]) -> Float[Tensor, "N C H W"]:
        """The pictures at some parameters."""
        ...

    def bounds(
        self, x: Float[Tensor, "N C H W"], low: Float[Tensor, "N k"], high: Float[Tensor, "N k"]
    ) -> tuple[Interval, PictureLines]:
        """Sound bounds of every feature over boxes of parameters: constant ones, and linear ones."""
        ...


@dataclass(frozen=True)
class Photometric:
    """`clip(x (1 + contrast) + brightness)`.

    Attributes:
        clip: the valid range that the result is cut to, or None.
    """

    names: ClassVar[tuple[str, ...]] = ("contrast", "brightness")
    clip: tuple[float, float] | None = (0.0, 1.0)

    def _cut(self, values: Tensor) -> Tensor:
        return values if self.clip is None else values.clamp(*self.clip)

    def apply(self, x: Float[Tensor, "N C H W"], p: Float[Tensor, "N k"]) -> Float[Tensor, "N C H W"]:
        contrast, brightness = _spread(p, x)
        return self._cut(x * (1 + contrast) + brightness)

    def _before(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Exact bounds of what is cut: it is linear in the parameters."""
        (c_low, b_low), (c_high, b_high) = _spread(low, x), _spread(high, x)
        ends = x * (1 + c_low), x * (1 + c_high)
        return torch.minimum(*ends) + b_low, torch.maximum(*ends) + b_high

    def bounds(
        self, x: Float[Tensor, "N C H W"], low: Float[Tensor, "N k"], high: Float[Tensor, "N k"]
    ) -> tuple[Interval, PictureLines]:
        """The constant ones are exact, for the cut keeps the order. So are the linear ones where nothing is cut.

        Elsewhere those follow the chord, as far off as the cut bends away from it.
        """
        below, above = self._before(x, low, high)
        width = above - below
        chord = torch.where(width > 0, (self._cut(above) - self._cut(below)) / width.clamp(min=1e-300), 1.0)
        clip = self.clip or (-math.inf, math.inf)
        bends = [below, above, *(torch.minimum(torch.maximum(torch.full_like(x, end), below), above) for end in clip)]
        gaps = torch.stack([self._cut(u) - chord * u for u in bends])
        lines = PictureLines(torch.stack((chord * x, chord), 1), gaps.amin(0) + chord * x - _SAFE, gaps.amax(0) + chord * x + _SAFE)
        return Interval(self._cut(below), self._cut(above)), lines


@dataclass(frozen=True)
class Geometric:
    """Rotation about the picture's middle, then translation, read by bilinear interpolation; outside the picture is 0.

    The parameters are the angle in degrees, counter-clockwise, and the shift in pixels to the right and down.

    Attributes:
        pieces: a cell of parameters is bounded in about so many pieces, and in more where a pixel would move by more than a
            quarter of a pixel within a piece. The bounds' slack falls in proportion to a piece's width.
    """

    names: ClassVar[tuple[str, ...]] = ("angle", "right", "down")
    pieces: int = 36

    def apply(self, x: Float[Tensor, "N C H W"], p: Float[Tensor, "N k"]) -> Float[Tensor, "N C H W"]:
        return _read(x, *self._source(x, p))

    def _source(self, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W) column and row of the nominal picture that each pixel shows."""
        angle, right, down = (part[:, :, :, 0] for part in _spread(p, x))
        across, along, (middle_u, middle_v) = _from_middle(x)
        across, along = across - right, along - down
        cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
        return cos * across - sin * along + middle_u, sin * across + cos * along + middle_v

    def _sources(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Interval, Interval]:
        """Intervals of columns and rows: at the corners, and as far beyond as a circle bends away from its chord."""
        ends = [
            self._source(x, torch.stack(corner, 1))
            for corner in itertools.product(*zip(low.unbind(1), high.unbind(1), strict=True))
        ]
        across, along, _ = _from_middle(x)
        reach = [torch.maximum(low[:, i].abs(), high[:, i].abs())[:, None, None] for i in (1, 2)]
        radius = torch.hypot(across.abs() + reach[0], along.abs() + reach[1])
        bend = radius * torch.deg2rad(high[:, 0] - low[:, 0]).square()[:, None, None] / 8 + _SAFE
        found = []
        for axis in (0, 1):
            values = torch.stack([end[axis] for end in ends])
            found.append(Interval(values.amin(0) - bend, values.amax(0) + bend))
        return found[0], found[1]

    def _cuts(self, x: Tensor, low: Tensor, high: Tensor) -> list[int]:
        """Pieces along each parameter."""
        width = (high - low).amax(0).tolist()
        reach = float(torch.maximum(low[:, 1:].abs(), high[:, 1:].abs()).max())
        radius = math.hypot(*x.shape[2:]) / 2 + 2 * reach
        speeds = (math.radians(1) * radius, 1.0, 1.0)
        each = math.ceil(self.pieces ** (1 / max(1, sum(w > 0 for w in width))))
        return [max(each, math.ceil(4 * w * s)) if w > 0 else 1 for w, s in zip(width, speeds, strict=True)]

    def _pieces(self, x: Tensor, low: Tensor, high: Tensor) -> tuple[Float[Tensor, "N M k"], Float[Tensor, "N M k"]]:
        """Both ends of every piece."""
        cuts = self._cuts(x, low, high)
        at = torch.tensor(list(itertools.product(*map(range, cuts))), dtype=low.dtype, device=low.device)
        count = at.new_tensor(cuts)
        start, width = low[:, None], (high - low)[:, None]
        return start + width * (at / count), torch.where(at + 1 == count, high[:, None], start + width * ((at + 1) / count))

    def bounds(
        self, x: Float[Tensor, "N C H W"], low: Float[Tensor, "N k"], high: Float[Tensor, "N k"]
    ) -> tuple[Interval, PictureLines]:
        """The constant ones hold the values of every piece. The linear ones follow the secants, as far off as any piece is."""
        slope = self._secants(x, low, high)
        ends: list[list[Tensor]] = [[], [], [], []]
        starts, stops = self._pieces(x, low, high)
        step = max(1, _ELEMENTS // x.numel())
        for start, stop in zip(torch.split(starts, step, 1), torch.split(stops, step, 1), strict=True):
            many = x[:, None].expand(-1, start.shape[1], *x.shape[1:]).flatten(0, 1)
            found = _read_over(many, *self._sources(many, start.flatten(0, 1), stop.flatten(0, 1)))
            lower, upper = (end.view(len(x), -1, *x.shape[1:]) for end in found)
            along = [slope[:, None] * part[..., None, None, None] for part in (start, stop)]
            parts = (lower, upper, lower - torch.maximum(*along).sum(2), upper - torch.minimum(*along).sum(2))
            for end, part, best in zip(ends, parts, (torch.amin, torch.amax) * 2, strict=True):
                end.append(best(part, 1))
        lower, upper, below, above = (torch.stack(end) for end in ends)
        lines = PictureLines(slope, below.amin(0) - _SAFE, above.amax(0) + _SAFE)
        return Interval(lower.amin(0), upper.amax(0)), lines

    def _secants(self, x: Tensor, low: Tensor, high: Tensor) -> Float[Tensor, "N k C H W"]:
        """The mean rise of every feature along each parameter, the others in the middle; 0 along one that does not vary."""
        middle, slopes = (low + high) / 2, []
        for k, width in enumerate(_spread(high - low, x)):
            which = torch.arange(len(self.names), device=x.device) == k
            first, last = (self.apply(x, torch.where(which, end, middle)) for end in (low, high))
            slopes.append(torch.where(width > 0, (last - first) / width.clamp(min=1e-300), 0.0))
        return torch.stack(slopes, 1)


def _spread(p: Float[Tensor, "N k"], x: Tensor) -> list[Float[Tensor, "N 1 1 1"]]:
    return [part.view(-1, 1, 1, 1) for part in p.unbind(1)]


def _from_middle(x: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """Columns (1, 1, W) and rows (1, H, 1) of the pixels, counted from the picture's middle."""
    height, width = x.shape[2:]
    middle = (width - 1) / 2, (height - 1) / 2
    columns = torch.arange(width, dtype=x.dtype, device=x.device) - middle[0]
    rows = torch.arange(height, dtype=x.dtype, device=x.device) - middle[1]
    return columns.view(1, 1, -1), rows.view(1, -1, 1), middle


def _read(x: Float[Tensor, "N C H W"], u: Float[Tensor, "N H W"], v: Float[Tensor, "N H W"]) -> Float[Tensor, "N C H W"]:
    """Bilinear interpolation at columns u and rows v; 0 outside."""
    height, width = x.shape[2:]
    left, top = u.floor(), v.floor()
    total = torch.zeros_like(x)
    for right, down in itertools.product((0, 1), (0, 1)):
        column, row = left + right, top + down
        weight = (1 - (u - column).abs()) * (1 - (v - row).abs())
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long().flatten(1)
        values = x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1)).view_as(x)
        total = total + (weight * inside)[:, None] * values
    return total


def _read_over(x: Float[Tensor, "N C H W"], u: Interval, v: Interval) -> Interval:
    """Least and greatest value over rectangles less than a pixel wide: attained where their corners and grid lines meet."""
    columns, rows = ((ends.lower, torch.minimum(ends.lower.ceil(), ends.upper), ends.upper) for ends in (u, v))
    values = torch.stack([_read(x, column, row) for column, row in itertools.product(columns, rows)])
    return Interval(values.amin(0) - _SAFE, values.amax(0) + _SAFE)
