"""Windows: linear forms that live on a small patch of a feature map instead of the whole of it.

A form that starts at one neuron of a convolution touches only that neuron's receptive field. Pulled through a convolution its
window grows as `k' = (k - 1) stride + kernel` and its corner moves as `o' = o stride - padding`; on an early layer a dense row
would be 13 times as much work. A window may hang over the edge of the map, where there is nothing but padding: what lies there
is cleared before any bias is read (`clean`), and slopes gathered from the map are zero there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from epsball.rows import Rows

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Windows(Rows):
    """Ragged rows on windows of a (C, H, W) map.

    Attributes:
        values: (2, M, C, k, l).
        sample: (M,).
        origin: (M, 2) row and column of each window's corner; may be negative.
        size: (H, W) of the map.
        first: the least row and column that any origin can have, known without looking at the values.
        last: the greatest.
        clean: whether everything that hangs over the edge is zero.
    """

    origin: Tensor | None = None
    size: Pair = (0, 0)
    first: Pair = (0, 0)
    last: Pair = (0, 0)
    clean: bool = True

    @classmethod
    def pairs(cls, sample: Int[Tensor, " M"], neuron: Int[Tensor, " M"], shape: torch.Size, dtype: torch.dtype) -> Windows:
        """The ragged pair (z_i, -z_i) for listed (sample, flat neuron) pairs of a (C, H, W) map."""
        channels, height, width = shape
        unit = torch.zeros(len(sample), channels, dtype=dtype, device=sample.device)
        unit.scatter_(1, neuron.div(height * width, rounding_mode="floor")[:, None], 1.0)
        unit = unit[:, :, None, None]
        place = neuron.remainder(height * width)
        origin = torch.stack((place.div(width, rounding_mode="floor"), place.remainder(width)), 1)
        last = (height - 1, width - 1)
        return cls(torch.stack((unit, -unit)), sample, origin, (height, width), (0, 0), last)

    @property
    def extent(self) -> Pair:
        """(k, l): height and width of a window."""
        return self.values.shape[3], self.values.shape[4]

    def like(self, values: Tensor) -> Windows:
        return replace(self, values=values)

    def cleaned(self) -> Windows:
        return replace(self, clean=True)

    def at(self, tensor: Float[Tensor, "B C H W"]) -> Float[Tensor, "M C k l"]:
        """The patch of a map under each window, zero where it hangs over the edge."""
        k, l = self.extent
        top, left = (max(0, -f) for f in self.first)
        bottom, right = (max(0, e + n - s) for e, n, s in zip(self.last, (k, l), self.size, strict=True))
        patches = pad(tensor, (left, right, top, bottom)).unfold(2, k, 1).unfold(3, l, 1)
        row, column = self._origin()[:, 0] + top, self._origin()[:, 1] + left
        return patches[self.sample, :, row, column]

    def clip(self) -> Windows:
        """Zero what hangs over the edge."""
        k, l = self.extent
        inside = all(f >= 0 and e + n <= s for f, e, n, s in zip(self.first, self.last, (k, l), self.size, strict=True))
        if self.clean or inside:
            return self.cleaned()
        rows, columns = (self._covers(axis, n) for axis, n in enumerate((k, l)))
        mask = (rows[:, :, None] & columns[:, None, :])[:, None]
        return replace(self, values=self.values * mask, clean=True)

    def _origin(self) -> Tensor:
        if self.origin is None:
            raise TypeError("windows without an origin")
        return self.origin

    def _covers(self, axis: int, count: int) -> Tensor:
        place = self._origin()[:, axis, None] + torch.arange(count, device=self.values.device)
        return (place >= 0) & (place < self.size[axis])

    def dense(self) -> Rows:
        """The same forms over the whole map."""
        clean = self.clip()
        pairs, count, channels, k, l = clean.values.shape
        height, width = self.size
        rows = self._origin()[:, 0, None] + torch.arange(k, device=self.values.device)
        columns = self._origin()[:, 1, None] + torch.arange(l, device=self.values.device)
        # what hangs over is zero, so adding it at a clamped place adds nothing
        place = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
        index = place.view(1, count, 1, k * l).expand(pairs, count, channels, k * l)
        whole = self.values.new_zeros(pairs, count, channels, height * width)
        whole = whole.scatter_add(3, index, clean.values.reshape(pairs, count, channels, k * l))
        return Rows(whole.view(pairs, count, channels, height, width), self.sample)

    def plus(self, other: Rows | None) -> Rows:
        if other is None:
            return self
        shift = self._shift(other)
        if shift is None or not isinstance(other, Windows):
            return self.dense().plus(other.dense())
        return _united(self.clip(), other.clip(), shift)

    def _shift(self, other: Rows) -> Pair | None:
        """By how much the other windows are moved against these, if by the same amount everywhere."""
        if not isinstance(other, Windows):
            return None
        low = (other.first[0] - self.first[0], other.first[1] - self.first[1])
        high = (other.last[0] - self.last[0], other.last[1] - self.last[1])
        return low if low == high else None

    def moved(self, values: Tensor, stride: Pair, padding: Pair, size: Pair) -> Windows:
        """The windows over the input of a convolution."""
        scale = torch.tensor(stride, device=self.values.device)
        offset = torch.tensor(padding, device=self.values.device)
        first, last = ((end[0] * stride[0] - padding[0], end[1] * stride[1] - padding[1]) for end in (self.first, self.last))
        return Windows(values, self.sample, self._origin() * scale - offset, size, first, last, clean=False)


def _united(a: Windows, b: Windows, shift: Pair) -> Windows:
    """The sum of two windows that start `shift` apart, on the smallest window that holds both."""
    start = (min(0, shift[0]), min(0, shift[1]))
    ends = [max(n, m + s) for n, m, s in zip(a.extent, b.extent, shift, strict=True)]

    def grown(values: Tensor, corner: Pair) -> Tensor:
        above, left = corner[0] - start[0], corner[1] - start[1]
        below, right = ends[0] - corner[0] - values.shape[3], ends[1] - corner[1] - values.shape[4]
        return pad(values, (left, right, above, below))

    values = grown(a.values, (0, 0)) + grown(b.values, shift)
    origin = a._origin() + torch.tensor(start, device=values.device)  # noqa: SLF001 - the same class
    first, last = ((e[0] + start[0], e[1] + start[1]) for e in (a.first, a.last))
    return replace(a, values=values, origin=origin, first=first, last=last)
