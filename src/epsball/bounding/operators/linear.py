"""Linear layers: `y = W x + b` on the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import linear

from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Affine, operators, unsupported
from epsball.interval import Interval
from epsball.rows import Rows
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Linear(Affine):
    """`y = W x + b`; W is (out, in)."""

    weight: Tensor
    bias: Tensor | None

    @cached_property
    def magnitude(self) -> Tensor:
        """|W|."""
        return self.weight.abs()

    def value(self, *xs: Tensor) -> Tensor:
        return linear(xs[0], self.weight, self.bias)

    def interval(self, *xs: Interval) -> Interval:
        """Centre through W, radius through |W|."""
        centre, radius = xs[0].centre_radius()
        centre, radius = linear(centre, self.weight, self.bias), linear(radius, self.magnitude)
        return Interval(centre - radius, centre + radius)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values @ self.weight,)

    def offset(self, rows: Rows) -> Tensor | None:
        if self.bias is None:
            return None
        values = rows.values
        return torch.matmul(values if values.dim() == 3 else values.flatten(2, -2).sum(2), self.bias)

    def scaled(self, scale: Tensor, shift: Tensor) -> Linear:
        """This layer followed by `scale * y + shift`, one number an output each."""
        bias = shift if self.bias is None else torch.addcmul(shift, self.bias, scale)
        return Linear(self.weight * scale[:, None], bias)


@operators.register("linear")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    weight = constants[1]
    if constants[0] is not None or weight is None:
        raise unsupported(node, "the weight depends on the input", "a layer with constant weights")
    return Linear(weight, constants[2] if len(constants) > 2 else None)
