"""Elementwise affine operators: batch norm, and add, sub, mul, div and neg with constants or with each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_sum
from epsball.forms.windows import Windows
from epsball.graph.graph import Node, Shape
from epsball.ops.affine.conv import Conv
from epsball.ops.affine.linear import Linear
from epsball.ops.operator import MOVES, Affine, Operator, Sums, operators, unsupported
from epsball.rounding import NORM, Ends, outside
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class ScaleShift(Affine):
    """`y = scale * x + shift`, elementwise with constants that broadcast to the sample's shape.

    `spread` is the size of what the shift was added up from, or None for its own.
    """

    scale: Tensor | None
    shift: Tensor | None
    spread: Tensor | None = None
    diagonal = True

    @property
    def sums(self) -> Sums:
        return Sums(4 if self.spread is None else NORM, 1)

    @property
    def constant(self) -> Tensor | None:
        return self.spread if self.shift is None or self.spread is not None else self.shift.abs()

    def value(self, *xs: Tensor) -> Tensor:
        y = xs[0] if self.scale is None else xs[0] * self.scale
        return y if self.shift is None else y + self.shift

    def size(self, *magnitudes: Tensor) -> Tensor:
        y = magnitudes[0] if self.scale is None else magnitudes[0] * self.scale.abs()
        return y if self.constant is None else y + self.constant

    def interval(self, *xs: Interval) -> Interval:
        """Both ends; what rounding may do is in proportion to the size of an end's own terms, so that its sign stays."""
        ends = self.value(xs[0].lower), self.value(xs[0].upper)
        box = Interval(*ends) if self.scale is None else Interval.ordered(*ends)
        if self.rounding is None:
            return box
        sizes = self.size(xs[0].lower.abs()), self.size(xs[0].upper.abs())
        if self.scale is not None:
            falls = ends[0] > ends[1]
            sizes = torch.where(falls, sizes[1], sizes[0]), torch.where(falls, sizes[0], sizes[1])
        share = self.rounding.gamma(self.sums.value + 1, self.sums.value + 8)
        return Interval(*outside(Ends(*box, *sizes), share, self.rounding.tiny))

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values if self.scale is None else values * self.scale,)

    def pull_windows(self, rows: Windows) -> tuple[Rows, ...] | None:
        """Constants that are the same all over the map act on windows as they are."""
        constants = [c for c in (self.scale, self.shift) if c is not None]
        if any(c.dim() > 0 and c.shape[-2:].numel() > 1 for c in constants):
            return None
        return (rows if self.scale is None else rows.like(rows.values * self.scale),)

    def offset(self, rows: Rows) -> Tensor | None:
        if self.shift is None:
            return None
        return node_sum(rows.values * self.shift)

    def after(self, before: Operator) -> Operator:
        """The linear layer or convolution that computes `self(before(x))`."""
        if not isinstance(before, (Linear, Conv)) or self.scale is None or self.shift is None:
            raise TypeError(f"cannot fold into {type(before).__name__}")
        size = self.shift.abs() if self.spread is None else self.spread
        return before.scaled(self.scale.flatten(), self.shift.flatten(), size.flatten())


@dataclass(frozen=True, eq=False)
class Sum(Affine):
    """`y = x_1 + sign * x_2`, both varying."""

    sign: int

    @property
    def sums(self) -> Sums:
        return Sums(2, 1)

    def size(self, *magnitudes: Tensor) -> Tensor:
        return magnitudes[0] + magnitudes[1]

    def value(self, *xs: Tensor) -> Tensor:
        return torch.add(xs[0], xs[1], alpha=self.sign)

    def interval(self, *xs: Interval) -> Interval:
        a, b = xs
        b = b if self.sign > 0 else Interval(-b.upper, -b.lower)
        low, high = a.lower + b.lower, a.upper + b.upper
        if self.rounding is None:
            return Interval(low, high)
        sizes = (left.abs() + right.abs() for left, right in zip(a, b, strict=True))
        return Interval(*outside(Ends(low, high, *sizes), self.rounding.gamma(2, 4)))

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return values, values if self.sign > 0 else -values

    def pull_windows(self, rows: Windows) -> tuple[Rows, ...] | None:
        return rows, rows if self.sign > 0 else rows.like(-rows.values)


def batch_norm_scale_shift(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`gamma / sqrt(var + eps)` and `beta - mean * scale`, one number a channel each."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, torch.addcmul(bias, mean, scale, value=-1)


@operators.register("batch_norm")
def make_batch_norm(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    weight, bias, mean, var = (c for c in constants[1:] if c is not None)
    scale, shift = batch_norm_scale_shift(weight, bias, mean, var, node.attrs["eps"])
    broadcast = (-1, *(1,) * (len(shapes[0]) - 1))
    spread = torch.addcmul(bias.abs(), mean.abs(), scale.abs())
    return ScaleShift(scale.view(broadcast), shift.view(broadcast), spread.view(broadcast))


@operators.register("add")
def make_add(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    constant = _constant(constants)
    return Sum(1) if constant is None else ScaleShift(None, constant)


@operators.register("sub")
def make_sub(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    left, right = constants
    if left is None:
        return Sum(-1) if right is None else ScaleShift(None, -right)
    return ScaleShift(-torch.ones_like(left), left)


@operators.register("scale_shift")
def make_scale_shift(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return ScaleShift(constants[1], constants[2])


@operators.register("neg")
def make_neg(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return Negate(None, None)


@dataclass(frozen=True, eq=False)
class Negate(ScaleShift):
    """`y = -x`."""

    @property
    def sums(self) -> Sums:
        return MOVES

    def size(self, *magnitudes: Tensor) -> Tensor:
        return magnitudes[0]

    def value(self, *xs: Tensor) -> Tensor:
        return -xs[0]

    def interval(self, *xs: Interval) -> Interval:
        return Interval(-xs[0].upper, -xs[0].lower)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (-values,)

    def pull_windows(self, rows: Windows) -> tuple[Rows, ...] | None:
        return (rows.like(-rows.values),)


@operators.register("div")
def make_div(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    if constants[1] is None:
        raise unsupported(node, "the divisor depends on the input", "a division by a constant")
    return ScaleShift(constants[1].reciprocal(), None)


def _constant(constants: tuple[Tensor | None, ...]) -> Tensor | None:
    return next((c for c in constants if c is not None), None)
