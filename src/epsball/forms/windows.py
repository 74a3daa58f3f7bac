"""Windows: linear forms that live on a small patch of a feature map instead of the whole of it.

A form that starts at one neuron of a convolution touches only that neuron's receptive field. Pulled through a convolution its
window grows as `k' = (k - 1) stride + kernel` and its corner moves as `o' = o stride - padding`; on an early layer a dense row
would be 13 times as much work. A window may hang over the edge of the map, where there is nothing but padding: what lies there
is cleared before any bias is read (`clean`), and slopes gathered from the map are zero there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from epsball.forms.rows import Rows

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor

Pair = tuple[int, int]


def _none() -> Tensor:
    return torch.empty(0, dtype=torch.long)


@dataclass(frozen=True, eq=False)
class Windows(Rows):
    """Ragged rows on windows of a (C, H, W) map.

    Rows with the same sample and corner share a site: what is read from the map is read once a site. Values lie in memory with
    the channel last: a row of the window is then one run of memory in the map, too.

    Attributes:
        values: (P, M, C, k, l).
        sample: (M,).
        site: (M,) index into `sites`.
        sites: (G, 3) sample, and row and column of the window's corner; the latter may be negative.
        size: (H, W) of the map.
        span: the samples of the rows lie in this range.
        first: the least row and column that any origin can have, known without looking at the values.
        last: the greatest.
        clean: whether everything that hangs over the edge is zero.
    """

    site: Tensor = field(default_factory=_none)
    sites: Tensor = field(default_factory=_none)
    size: Pair = (0, 0)
    span: Pair = (0, 0)
    first: Pair = (0, 0)
    last: Pair = (0, 0)
    clean: bool = True

    @classmethod
    def units(cls, sample: Int[Tensor, " M"], neuron: Int[Tensor, " M"], shape: torch.Size, dtype: torch.dtype) -> Windows:
        """The ragged form z_i alone (P = 1) for listed (sample, flat neuron) pairs of a (C, H, W) map.

        Neurons of one place that follow each other share a site.
        """
        channels, height, width = shape
        unit = torch.zeros(len(sample), channels, dtype=dtype, device=sample.device)
        unit.scatter_(1, neuron.div(shape[1:].numel(), rounding_mode="floor")[:, None], 1.0)
        area = height * width
        place, site = torch.unique_consecutive(sample * area + neuron.remainder(area), return_inverse=True)
        corner = place.remainder(area)
        sites = (place.div(area, rounding_mode="floor"), corner.div(width, rounding_mode="floor"), corner.remainder(width))
        last, span = (height - 1, width - 1), (int(sample.min()), int(sample.max()) + 1) if len(sample) else (0, 0)
        return cls(unit[None, :, :, None, None], sample, site, torch.stack(sites, 1), (height, width), span, (0, 0), last)

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
        near = tensor[self.span[0] : self.span[1]].permute(0, 2, 3, 1)
        whole = pad(near, (0, 0, left, right, top, bottom)).contiguous()
        patches = whole.unfold(1, k, 1).unfold(2, l, 1).permute(0, 1, 2, 4, 5, 3)
        found = patches[self.sites[:, 0] - self.span[0], self.sites[:, 1] + top, self.sites[:, 2] + left]
        return found.index_select(0, self.site).permute(0, 3, 1, 2)

    def take(self, keep: Int[Tensor, " N"]) -> Windows:
        sample = None if self.sample is None else self.sample[keep]
        return replace(self, values=self.values.index_select(1, keep), sample=sample, site=self.site[keep])

    def clip(self) -> Windows:
        """Zero what hangs over the edge."""
        k, l = self.extent
        inside = all(f >= 0 and e + n <= s for f, e, n, s in zip(self.first, self.last, (k, l), self.size, strict=True))
        if self.clean or inside:
            return self.cleaned()
        rows, columns = (self._covers(axis, n) for axis, n in enumerate((k, l)))
        mask = (rows[:, :, None] & columns[:, None, :])[self.site, None]
        return replace(self, values=self.values * mask, clean=True)

    def _covers(self, axis: int, count: int) -> Tensor:
        place = self._reach(axis, count)
        return (place >= 0) & (place < self.size[axis])

    def _reach(self, axis: int, count: int) -> Int[Tensor, "G count"]:
        """The rows or columns of the map that each site's window covers."""
        return self.sites[:, axis + 1, None] + torch.arange(count, device=self.values.device)

    def dense(self) -> Rows:
        """The same forms over the whole map."""
        clean = self.clip()
        pairs, count, channels, k, l = clean.values.shape
        height, width = self.size
        rows, columns = self._reach(0, k).clamp(0, height - 1), self._reach(1, l).clamp(0, width - 1)
        # what hangs over is zero, so adding it at a clamped place adds nothing
        place = (rows[:, :, None] * width + columns[:, None, :])[self.site]
        index = place.view(1, count, k * l, 1).expand(pairs, count, k * l, channels)
        whole = self.values.new_zeros(pairs, count, height * width, channels)
        whole = whole.scatter_add(2, index, clean.values.permute(0, 1, 3, 4, 2).reshape(pairs, count, k * l, channels))
        return Rows(whole.view(pairs, count, height, width, channels).permute(0, 1, 4, 2, 3), self.sample)

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
        sites = self.sites.clone()
        for axis in (0, 1):
            sites[:, axis + 1].mul_(stride[axis]).sub_(padding[axis])
        first, last = ((end[0] * stride[0] - padding[0], end[1] * stride[1] - padding[1]) for end in (self.first, self.last))
        return Windows(values, self.sample, self.site, sites, size, self.span, first, last, clean=False)


def _united(a: Windows, b: Windows, shift: Pair) -> Windows:
    """The sum of two windows that start `shift` apart, on the smallest window that holds both."""
    start = (min(0, shift[0]), min(0, shift[1]))
    ends = [max(n, m + s) for n, m, s in zip(a.extent, b.extent, shift, strict=True)]

    def grown(values: Tensor, corner: Pair) -> Tensor:
        above, left = corner[0] - start[0], corner[1] - start[1]
        below, right = ends[0] - corner[0] - values.shape[3], ends[1] - corner[1] - values.shape[4]
        return pad(values, (left, right, above, below))

    values = grown(a.values, (0, 0)) + grown(b.values, shift)
    sites = a.sites + torch.tensor((0, *start), dtype=torch.long, device=values.device)
    first, last = ((e[0] + start[0], e[1] + start[1]) for e in (a.first, a.last))
    return replace(a, values=values, sites=sites, first=first, last=last)
