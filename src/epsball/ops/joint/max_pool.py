"""Max-pooling, bounded between one of its inputs and a constant.

Below: `max(x) >= x_i` for any i; i is the input with the largest lower bound. Above: where that input's lower bound is at least
every other upper bound the maximum is exactly x_i, and elsewhere it is at most the largest upper bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch.nn import functional as F

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.graph.graph import Node, Shape
from epsball.ops.operator import Lossy, Nonlinear, Relaxed, Slope, operators
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class PoolWindows:
    """The geometry of a pooling: (N, C, H, W) to its windows (N, C, k, L), and the transpose."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    before: Shape
    after: Shape

    @property
    def border(self) -> list[int]:
        """Padding on the four sides; with ceil mode the last windows reach further right and down."""
        sides: list[int] = []
        for n, o, k, s, p, d in zip(
            self.before[1:],
            self.after[1:],
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        ):
            reach = (o - 1) * s + d * (k - 1) + 1
            sides = [p, max(0, reach - n - p), *sides]
        return sides

    def unfold(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, k, L); padding holds the lowest finite value, never 0."""
        padded = F.pad(x, self.border, value=torch.finfo(x.dtype).min)
        columns = F.unfold(padded, self.kernel, self.dilation, 0, self.stride)
        return columns.view(len(x), x.shape[1], -1, columns.shape[2])[..., : self.after[1] * self.after[2]]

    def fold(self, windows: Tensor) -> Tensor:
        """The transpose of `unfold` on what is not padding."""
        left, right, top, bottom = self.border
        size = (self.before[1] + top + bottom, self.before[2] + left + right)
        whole = F.fold(windows.flatten(1, 2), size, self.kernel, self.dilation, 0, self.stride)
        return whole[..., top : top + self.before[1], left : left + self.before[2]]


@dataclass(frozen=True, eq=False)
class MaxPool(Nonlinear):
    """`y = max over each window`."""

    windows: PoolWindows
    ceil: bool

    def value(self, *xs: Tensor) -> Tensor:
        w = self.windows
        return F.max_pool2d(xs[0], list(w.kernel), list(w.stride), list(w.padding), list(w.dilation), self.ceil)

    def interval(self, *pre: Interval) -> Interval:
        return Interval(self.value(pre[0].lower), self.value(pre[0].upper))

    def _winner(self, pre: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """One-hot (B, C, k, L) of the largest lower bound, whether it is the maximum for sure, and the upper bound (B, C, 1, L)."""
        lower, upper = self.windows.unfold(pre.lower), self.windows.unfold(pre.upper)
        best, index = lower.max(2, keepdim=True)
        winner = torch.zeros_like(lower).scatter_(2, index, 1.0)
        others = upper.masked_fill(winner.bool(), torch.finfo(upper.dtype).min).amax(2, keepdim=True)
        return winner, best >= others, upper.amax(2, keepdim=True)

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        winner, sure, ceiling = self._winner(pre[0])
        lines = MaxPoolLines(self.windows, winner, sure, torch.where(sure, 0.0, ceiling).squeeze(2))
        if self.rounding is None:
            return lines
        size = self.value(pre[0].magnitude)  # overlapping windows add up in one element, and ceilings in one bias
        return Lossy(lines, self.rounding.gamma(0, size[0].numel() + prod(self.windows.kernel) + self.rounding.running) * size)

    def linear(self, *pre: Interval) -> Tensor:
        """Inputs all of whose windows have a sure winner."""
        winner, sure, _ = self._winner(pre[0])
        return self.windows.fold((~sure).to(winner.dtype).expand_as(winner)) == 0


@dataclass(frozen=True, eq=False)
class MaxPoolLines(Relaxed):
    """The two linear functions of a max-pooling over one box."""

    windows: PoolWindows
    winner: Tensor
    sure: Tensor
    ceiling: Tensor  # (B, C, L), 0 where the winner is sure

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        values = rows.values.flatten(3)  # (P, Q, C, L)
        negative = values.clamp(max=0)
        kept = torch.where(rows.at(self.sure).squeeze(2), values, values - negative)
        windows = kept.unsqueeze(3) * rows.at(self.winner)
        return (rows.unflat(self.windows.fold(windows.flatten(0, 1))),), rows.like(negative).dot(self.ceiling)


@operators.register("max_pool2d")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    a = node.attrs
    return MaxPool(PoolWindows(a["kernel"], a["stride"], a["padding"], a["dilation"], shapes[0], node.shape), a["ceil"])
