"""Elementwise affine operators: batch norm, and add, sub, mul, div and neg with constants or with each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from epsball.bounding.operators.conv import Conv
from epsball.bounding.operators.linear import Linear
from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Affine, Operator, operators, unsupported
from epsball.interval import Interval
from epsball.rows import Rows, node_sum
from epsball.types import Tensor
from epsball.windows import Windows


@dataclass(frozen=True, eq=False)
class ScaleShift(Affine):
    """`y = scale * x + shift`, elementwise with constants that broadcast to the sample's shape."""

    scale: Tensor | None
    shift: Tensor | None
    diagonal = True

    def value(self, *xs: Tensor) -> Tensor:
        y = xs[0] if self.scale is None else xs[0] * self.scale
        return y if self.shift is None else y + self.shift

    def interval(self, *xs: Interval) -> Interval:
        ends = self.value(xs[0].lower), self.value(xs[0].upper)
        return Interval(*ends) if self.scale is None else Interval.ordered(*ends)

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
        return before.scaled(self.scale.flatten(), self.shift.flatten())


@dataclass(frozen=True, eq=False)
class Sum(Affine):
    """`y = x_1 + sign * x_2`, both varying."""

    sign: int

    def value(self, *xs: Tensor) -> Tensor:
        return torch.add(xs[0], xs[1], alpha=self.sign)

    def interval(self, *xs: Interval) -> Interval:
        a, b = xs
        if self.sign < 0:
            return Interval(a.lower - b.upper, a.upper - b.lower)
        return Interval(a.lower + b.lower, a.upper + b.upper)

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
    return ScaleShift(scale.view(broadcast), shift.view(broadcast))


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
