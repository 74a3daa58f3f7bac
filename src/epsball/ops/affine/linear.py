"""Linear layers: `y = W x + b` on the last axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn.functional import linear

from epsball.forms.rows import Rows
from epsball.graph.graph import Node, Shape
from epsball.ops.affine.weighted import Weighted
from epsball.ops.operator import Affine, Sums, operators, unsupported
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Linear(Weighted):
    """`y = W x + b`; W is (out, in)."""

    weight: Tensor
    bias: Tensor | None
    spread: Tensor | None = None

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return linear(x, weight, bias)

    @property
    def sums(self) -> Sums:
        out, fan_in = self.weight.shape
        return Sums(fan_in + self.extra, out)

    @property
    def constant(self) -> Tensor | None:
        return self.bias_size

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values @ self.weight,)

    def offset(self, rows: Rows) -> Tensor | None:
        if self.bias is None:
            return None
        values = rows.values
        return torch.matmul(values if values.dim() == 3 else values.flatten(2, -2).sum(2), self.bias)

    def scaled(self, scale: Tensor, shift: Tensor, size: Tensor) -> Linear:
        """This layer followed by `scale * y + shift`, one number an output each; the shift was added up from numbers of `size`."""
        spread = size if self.bias_size is None else torch.addcmul(size, self.bias_size, scale.abs())
        bias = shift if self.bias is None else torch.addcmul(shift, self.bias, scale)
        return replace(self, weight=self.weight * scale[:, None], bias=bias, spread=spread)


@operators.register("linear")
def make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    weight = constants[1]
    if constants[0] is not None or weight is None:
        raise unsupported(node, "the weight depends on the input", "a layer with constant weights")
    return Linear(weight, constants[2] if len(constants) > 2 else None)
