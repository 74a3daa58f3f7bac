"""Softmax and log-sum-exp along one axis.

Two pairs of lines, of which each element takes the one that is better at the centre:

- With `d_j = x_j - x_i`, softmax is `p_i = 1 / q_i` with `q_i = 1 + sum of exp(d_j) over j != i`. q is convex in x, between a sum
  of tangents of exp and a sum of chords; 1/q is convex in q, between a tangent and a chord. The steps are those of Shi et al. 2020
  (arXiv:2002.06622), taken on differences, where no number overflows and the interval is exact.
- Wei et al. 2023 (arXiv:2303.01713): `exp(x_i) / (sum of chords of exp)` is convex and lies below p_i, so that its tangent does;
  `log p_i = x_i - LSE(x)` is concave, so that `p_i = exp(log p_i)` lies below a chord of exp at a tangent. Chords over the elements
  are shorter than those over differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.graph.graph import Node, Shape
from epsball.ops.operator import Lossy, Nonlinear, Relaxed, Slope, operators
from epsball.rounding import SLACK, Ends, Rounding, outside
from epsball.types import Tensor

_STEEP = 20.0  # where a difference can exceed this, the interval is as good as any line
_LARGEST = 80.0  # exp of it is finite in single precision


def _pairs(l: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bounds (..., i, j) of `x_j - x_i`, and 1 off the diagonal."""
    low, high = l[..., None, :] - u[..., :, None], u[..., None, :] - l[..., :, None]
    other = 1 - torch.eye(l.shape[-1], dtype=l.dtype, device=l.device)
    return torch.where(other > 0, low, 0.0), torch.where(other > 0, high, 0.0), other


def _chord(low: Tensor, high: Tensor) -> Tensor:
    """The slope of the chord of exp over [low, high]."""
    width = high - low
    flat = width < 1e-4
    steep = torch.exp(high) * -torch.expm1(-width) / torch.where(flat, 1.0, width)
    return torch.where(flat, torch.exp(torch.lerp(low, high, 0.5)), steep)


@dataclass(frozen=True, eq=False)
class Softmax(Nonlinear):
    """`softmax(x)` along one axis, which counts the batch as axis 0."""

    axis: int

    def value(self, *xs: Tensor) -> Tensor:
        return torch.softmax(xs[0], self.axis)

    def interval(self, *pre: Interval) -> Interval:
        low, high, other = _pairs(*(end.movedim(self.axis, -1) for end in pre[0]))
        least = 1 / (1 + (torch.exp(high.clamp(max=_LARGEST)) * other).sum(-1))
        most = 1 / (1 + (torch.exp(low.clamp(max=_LARGEST)) * other).sum(-1))
        least = torch.where(high.amax(-1) > _LARGEST, 0.0, least)
        if self.rounding is not None:
            least, most = outside(Ends(least, most, least, most), *self._error(self.rounding, least.shape[-1]))
        return Interval(least.movedim(-1, self.axis), most.movedim(-1, self.axis))

    @staticmethod
    def _error(rounding: Rounding, count: int) -> tuple[float, float]:
        """What a value is off by, for each unit of it and at least: an exponent t is off by t units, and `t exp(-t) < 1`."""
        terms = 2 * (count + SLACK)
        return rounding.gamma(terms, terms), rounding.gamma(2, 2)

    def linear(self, *pre: Interval) -> Tensor:
        """Where every other element is a point, an element's own interval still matters: only points do not."""
        return pre[0].lower == pre[0].upper

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        low, high, other = _pairs(*(end.movedim(self.axis, -1) for end in pre[0]))
        steep = high.amax(-1, keepdim=True) > _STEEP
        low, high = low.clamp(max=_STEEP), high.clamp(max=_STEEP)
        least, most = (1 + (torch.exp(end) * other).sum(-1, keepdim=True) for end in (low, high))  # of q
        raw = Interval(*(end.movedim(self.axis, -1) for end in pre[0]))
        middle = torch.lerp(raw.lower, raw.upper, 0.5)
        below = _better(self._below(low, high, other, least, most), _tangent_below(raw, middle), middle, 1.0)
        above = _better(self._above(low, high, other, least, most), _tangent_above(low, high, other, middle), middle, -1.0)
        box = self.interval(*pre)
        ends = (end.movedim(self.axis, -1) for end in box)
        flat = steep.squeeze(-1)
        lines = [
            (torch.where(steep, 0.0, matrix), torch.where(flat, end, bias))
            for (matrix, bias), end in zip((below, above), ends, strict=True)
        ]
        return _given_away(MatrixLines(self.axis, lines[0], lines[1]), self.rounding, pre[0], torch.ones_like(box.upper))

    @staticmethod
    def _below(low: Tensor, high: Tensor, other: Tensor, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        """`p >= 2 / t - q / t^2` with q at most `1 + sum exp(low) + chord (d - low)`; t in the middle of its range."""
        chord = _chord(low, high) * other
        q = 1 + ((torch.exp(low) * other) - chord * low).sum(-1, keepdim=True)
        t = 0.5 * (least + most)
        return _on_x(-chord / t.square()), (2 / t - q / t.square()).squeeze(-1)

    @staticmethod
    def _above(low: Tensor, high: Tensor, other: Tensor, least: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
        """`p <= 1 / least + 1 / most - q / (least most)` with q at least its tangents, which are kept above 0 at the lower ends."""
        touch = torch.minimum(torch.lerp(low, high, 0.5), low + 0.99)
        tangent = torch.exp(touch) * other
        q = 1 + (tangent * (1 - touch)).sum(-1, keepdim=True)
        both = least * most
        return _on_x(-tangent / both), (1 / least + 1 / most - q / both).squeeze(-1)


_Line = tuple[Tensor, Tensor]


def _tangent_below(pre: Interval, middle: Tensor) -> _Line:
    """The tangent of `exp(x_i) / sum of chords` in the middle."""
    shift = pre.upper.amax(-1, keepdim=True)
    low, high = pre.lower - shift, pre.upper - shift
    chord = _chord(low, high)
    total = (torch.exp(low) + chord * (middle - pre.lower)).sum(-1, keepdim=True)
    value = torch.exp(middle - shift) / total
    matrix = torch.diag_embed(value) - value[..., :, None] * (chord / total)[..., None, :]
    return matrix, value - (matrix @ middle[..., None])[..., 0]


def _tangent_above(low: Tensor, high: Tensor, other: Tensor, middle: Tensor) -> _Line:
    """The chord of exp over the range of `log p_i`, at the tangent of `log p_i` in the middle."""
    least, most = (-torch.log1p((torch.exp(end) * other).sum(-1)) for end in (high, low))
    chord, share = _chord(least, most), torch.softmax(middle, -1)
    matrix = chord[..., :, None] * (torch.eye(middle.shape[-1], dtype=middle.dtype, device=middle.device) - share[..., None, :])
    value = torch.exp(least) + chord * (torch.log_softmax(middle, -1) - least)
    return matrix, value - (matrix @ middle[..., None])[..., 0]


def _better(first: _Line, second: _Line, middle: Tensor, sign: float) -> _Line:
    """For each element the line with the greater value in the middle, or the lesser for sign -1: the better one on average."""
    values = [(matrix @ middle[..., None])[..., 0] + bias for matrix, bias in (first, second)]
    chosen = sign * values[1] > sign * values[0]
    return torch.where(chosen[..., None], second[0], first[0]), torch.where(chosen, second[1], first[1])


def _on_x(on_differences: Tensor) -> Tensor:
    """Coefficients (..., i, j) of x_j from those of `x_j - x_i`; the diagonal's are 0."""
    return on_differences - torch.diag_embed(on_differences.sum(-1))


@dataclass(frozen=True, eq=False)
class MatrixLines(Relaxed):
    """`M x + c` below and above a function along one axis: each a matrix (B, ..., i, j) and a bias (B, ..., i)."""

    axis: int
    below: tuple[Tensor, Tensor]
    above: tuple[Tensor, Tensor]

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        values = rows.values.movedim(self.axis + 1, -1)
        negative = values.clamp(max=0)
        positive = values - negative
        pulled = [_times(part, rows.sample, matrix) for part, (matrix, _) in ((positive, self.below), (negative, self.above))]
        bias = rows.like(positive).dot(self.below[1]) + rows.like(negative).dot(self.above[1])
        return (rows.like((pulled[0] + pulled[1]).movedim(-1, self.axis + 1)),), bias


def _given_away(lines: MatrixLines, rounding: Rounding | None, pre: Interval, value: Tensor) -> Relaxed:
    """The lines less what rounding may do to the function, whose error is in proportion to `value`, to them, and to a form."""
    if rounding is None:
        return lines
    size, axis = value.movedim(lines.axis, -1), pre.magnitude.movedim(lines.axis, -1)[..., None]
    for matrix, bias in (lines.below, lines.above):
        size = torch.maximum(size, (matrix.abs() @ axis)[..., 0] + bias.abs() + value.movedim(lines.axis, -1))
    count = pre.lower.shape[lines.axis]
    own = size[0].numel() + 2 * count + 3 * SLACK + rounding.running
    return Lossy(lines, (rounding.gamma(2 * (count + SLACK), own) * size + own * rounding.tiny).movedim(-1, lines.axis))


def _times(values: Tensor, sample: Tensor | None, matrix: Tensor) -> Tensor:
    """Each row's vectors (P, Q, ..., i) times its sample's matrices (B, ..., i, j).

    All rows of a sample go through one product of matrices: row by row it is five times slower.
    """
    if sample is None:
        return (values.movedim(0, -2) @ matrix).movedim(-2, 0)
    if len(matrix) == 1:
        return _of_one(values, matrix[0])
    groups = [(sample == i).nonzero()[:, 0] for i in sorted(set(sample.tolist()))]
    parts = [_of_one(values[:, index], matrix[int(sample[index[0]])]) for index in groups]
    return torch.cat(parts, 1)[:, torch.cat(groups).argsort()]


def _of_one(values: Tensor, matrix: Tensor) -> Tensor:
    flat = values.flatten(0, 1).movedim(0, -2) @ matrix
    return flat.movedim(-2, 0).reshape(*values.shape[:2], *values.shape[2:-1], -1)


@dataclass(frozen=True, eq=False)
class LogSumExp(Nonlinear):
    """`log sum exp(x)` along one axis, kept with length 1: convex, so a tangent below; above, log's tangent at a sum of chords."""

    axis: int

    def value(self, *xs: Tensor) -> Tensor:
        return torch.logsumexp(xs[0], self.axis, keepdim=True)

    def interval(self, *pre: Interval) -> Interval:
        low, high = self.value(pre[0].lower), self.value(pre[0].upper)
        if self.rounding is None:
            return Interval(low, high)
        terms = pre[0].lower.shape[self.axis] + SLACK
        room = self.rounding.gamma(terms, terms) * (1 + pre[0].magnitude.amax(self.axis, keepdim=True))
        return Interval(low - room, high + room)

    def linear(self, *pre: Interval) -> Tensor:
        return pre[0].lower == pre[0].upper

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        l, u = (end.movedim(self.axis, -1) for end in pre[0])
        middle = torch.lerp(l, u, 0.5)
        share = torch.softmax(middle, -1)
        at_middle = torch.logsumexp(middle, -1) - (share * middle).sum(-1)
        shift = u.amax(-1, keepdim=True)
        low, high = l - shift, u - shift
        chord = _chord(low, high)
        start = (torch.exp(low) - chord * low).sum(-1)  # the sum of chords is start + chord (x - shift)
        t = 0.5 * (torch.exp(low).sum(-1) + torch.exp(high).sum(-1))
        slope_above = chord / t[..., None]
        above = t.log() - 1 + start / t - (slope_above * shift).sum(-1) + shift[..., 0]
        lines = MatrixLines(
            self.axis,
            (share[..., None, :], at_middle[..., None]),
            (slope_above[..., None, :], above[..., None]),
        )
        return _given_away(lines, self.rounding, pre[0], 1 + pre[0].magnitude.amax(self.axis, keepdim=True))


@operators.register("softmax")
def make_softmax(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    return Softmax(node.attrs["dim"] + 1)


@operators.register("logsumexp")
def make_logsumexp(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    return LogSumExp(node.attrs["dim"] + 1)
