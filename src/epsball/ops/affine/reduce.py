"""Sum and mean over per-sample axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epsball.graph.graph import Node, Shape
from epsball.ops.affine.shape import Rearranging
from epsball.ops.operator import Affine, Sums, operators
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Reduce(Rearranging):
    """`factor * sum` over axes; the factor is positive, so intervals go through it end by end."""

    axes: tuple[int, ...]
    keepdim: bool
    factor: float
    before: Shape

    @property
    def sums(self) -> Sums:
        return Sums(math.prod(self.before[axis - 1] for axis in self.axes) + 1, 2)

    def value(self, *xs: Tensor) -> Tensor:
        total = xs[0].sum(self.axes, keepdim=self.keepdim)
        return total if self.factor == 1 else total * self.factor

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        if not self.keepdim:
            for axis in self.axes:
                values = values.unsqueeze(axis)
        values = values if self.factor == 1 else values * self.factor
        return (values.expand(len(values), *self.before),)


@operators.register("sum")
def make_sum(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return _reduce(node, shapes[0], 1.0)


@operators.register("mean")
def make_mean(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return _reduce(node, shapes[0], 1.0 / math.prod(shapes[0][d] for d in node.attrs["dims"]))


def _reduce(node: Node, shape: Shape, factor: float) -> Reduce:
    axes = tuple(d + 1 for d in node.attrs["dims"])
    return Reduce(axes, node.attrs["keepdim"], factor, shape)
