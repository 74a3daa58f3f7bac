"""Transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn import functional as F

from epsball.forms.rows import Rows
from epsball.graph.graph import Node, Shape
from epsball.ops.affine.conv import covering
from epsball.ops.affine.weighted import Weighted
from epsball.ops.operator import Affine, Sums, operators, unsupported
from epsball.types import Tensor

_FORWARD: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_BACKWARD: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True, eq=False)
class ConvTranspose(Weighted):
    """A transposed convolution; `weight` is (in, out / groups, *kernel)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    rest: tuple[int, ...]  # output_padding
    dilation: tuple[int, ...]
    groups: int
    spread: Tensor | None = None

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        transpose = _FORWARD[len(self.stride)]
        y: Tensor = transpose(x, weight, bias, self.stride, self.padding, self.rest, self.groups, self.dilation)
        return y

    @property
    def sums(self) -> Sums:
        kernel = self.weight.shape[2:]
        terms = self.weight.shape[0] // self.groups * covering(kernel, self.stride, self.dilation)
        return Sums(terms + self.extra, self.weight.shape[1] * prod(kernel))

    @property
    def constant(self) -> Tensor | None:
        size = self.bias_size
        return None if size is None else size.view(-1, *(1,) * len(self.stride))

    def _least(self, least: float) -> Tensor:
        return self.weight.new_full((self.weight.shape[1] * self.groups,), least)

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
