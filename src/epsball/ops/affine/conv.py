"""Convolutions in one, two and three dimensions; stride, padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, gcd, prod
from typing import Any

import torch
from torch.nn import functional as F

from epsball.forms.rows import Rows
from epsball.forms.windows import Windows
from epsball.graph.graph import Node, Shape
from epsball.ops.affine.transpose import Transposed
from epsball.ops.affine.weighted import Weighted
from epsball.ops.operator import Affine, Sums, operators, unsupported
from epsball.types import Tensor

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """A convolution; `weight` is (out, in / groups, *kernel)."""

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    shape: Shape  # of the input, without the batch
    spread: Tensor | None = None

    @cached_property
    def transposed(self) -> Transposed | None:
        """The transpose, where a faster one than the library's is known."""
        plain = len(self.stride) == 2 and self.groups == 1 and max(self.dilation) == 1
        return Transposed(self.weight, (self.stride[0], self.stride[1])) if plain else None

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = _FORWARD[len(self.stride)]
        return conv(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    @property
    def sums(self) -> Sums:
        out, kernel = self.weight.shape[0], self.weight.shape[2:]
        back = out // self.groups * covering(kernel, self.stride, self.dilation)
        return Sums(self.weight.shape[1] * prod(kernel) + self.extra, back)

    @property
    def constant(self) -> Tensor | None:
        size = self.bias_size
        return None if size is None else size.view(-1, *(1,) * len(self.stride))

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        """The transposed convolution, grown to the input's size."""
        if self.transposed is not None:
            rest = self._rest(values.shape[2:])
            return (self.transposed(values, (self.padding[0], self.padding[1]), (rest[0], rest[1])),)
        transpose = _TRANSPOSE[len(self.stride)]
        return (
            transpose(
                values,
                self.weight,
                None,
                self.stride,
                self.padding,
                self._rest(values.shape[2:]),
                self.groups,
                self.dilation,
            ),
        )

    def pull_windows(self, rows: Windows) -> tuple[Rows, ...] | None:
        """The transposed convolution of the window alone, unless it grows beyond the map."""
        kernel = self.weight.shape[2:]
        grown = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(rows.extent, self.stride, self.dilation, kernel, strict=True)]
        if grown[0] * grown[1] > self.shape[1] * self.shape[2]:
            return None
        flat = rows.values.flatten(0, 1)
        if self.transposed is not None:
            values = self.transposed(flat, (0, 0), (0, 0))
        else:
            values = F.conv_transpose2d(flat, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
        pair, size = (self.stride[0], self.stride[1]), (self.shape[1], self.shape[2])
        return (rows.moved(values.view(*rows.values.shape[:2], *values.shape[1:]), pair, (self.padding[0], self.padding[1]), size),)

    def _rest(self, out: torch.Size) -> list[int]:
        """Input positions that the last window left over, on each axis."""
        kernel = self.weight.shape[2:]
        return [
            n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, o, s, p, d, k in zip(self.shape[1:], out, self.stride, self.padding, self.dilation, kernel, strict=True)
        ]

    def offset(self, rows: Rows) -> Tensor | None:
        return None if self.bias is None else torch.matmul(rows.values.flatten(3).sum(3), self.bias)

    def scaled(self, scale: Tensor, shift: Tensor, size: Tensor) -> Conv:
        """This convolution followed by `scale * y + shift`, one number a channel; the shift was added up from numbers of `size`."""
        spread = size if self.bias_size is None else torch.addcmul(size, self.bias_size, scale.abs())
        bias = shift if self.bias is None else torch.addcmul(shift, self.bias, scale)
        weight = self.weight * scale.view(-1, *(1,) * (self.weight.dim() - 1))
        return replace(self, weight=weight, bias=bias, spread=spread)


def covering(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> int:
    """Most windows of a convolution that read one place of its input."""
    return prod(ceil(k * gcd(s, d) / s) for k, s, d in zip(kernel, stride, dilation, strict=True))


@operators.register("conv")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    weight = constants[1]
    if constants[0] is not None or weight is None:
        raise unsupported(node, "the kernel depends on the input", "a convolution with constant weights")
    a = node.attrs
    bias = constants[2] if len(constants) > 2 else None
    return Conv(weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"], shapes[0])
