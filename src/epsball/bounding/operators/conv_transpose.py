"""Transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn import functional as F

from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Affine, operators, unsupported
from epsball.interval import Interval
from epsball.rows import Rows
from epsball.types import Tensor

_FORWARD: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_BACKWARD: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True, eq=False)
class ConvTranspose(Affine):
    """A transposed convolution; `weight` is (in, out / groups, *kernel)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    rest: tuple[int, ...]  # output_padding
    dilation: tuple[int, ...]
    groups: int

    @cached_property
    def magnitude(self) -> Tensor:
        """|W|."""
        return self.weight.abs()

    def _apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        transpose = _FORWARD[len(self.stride)]
        y: Tensor = transpose(x, weight, bias, self.stride, self.padding, self.rest, self.groups, self.dilation)
        return y

    def value(self, *xs: Tensor) -> Tensor:
        return self._apply(xs[0], self.weight, self.bias)

    def interval(self, *xs: Interval) -> Interval:
        """Centre through W, radius through |W|."""
        centre, radius = xs[0].centre_radius()
        centre, radius = self._apply(centre, self.weight, self.bias), self._apply(radius, self.magnitude, None)
        return Interval(centre - radius, centre + radius)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        """The convolution."""
        conv = _BACKWARD[len(self.stride)]
        return (conv(values, self.weight, None, self.stride, self.padding, self.dilation, self.groups),)

    def offset(self, rows: Rows) -> Tensor | None:
        return None if self.bias is None else torch.matmul(rows.values.flatten(3).sum(3), self.bias)


@operators.register("conv_transpose")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    weight = constants[1]
    if constants[0] is not None or weight is None:
        raise unsupported(node, "the kernel depends on the input", "a convolution with constant weights")
    a = node.attrs
    bias = constants[2] if len(constants) > 2 else None
    return ConvTranspose(weight, bias, a["stride"], a["padding"], a["rest"], a["dilation"], a["groups"])
