"""Average pooling: non-negative weights, so intervals go through it end by end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from torch.nn import functional as F

from epsball.graph.graph import Node, Shape
from epsball.ops.affine.shape import Rearranging
from epsball.ops.operator import Affine, Autodiff, Sums, operators
from epsball.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class AveragePool(Rearranging):
    """A pooling that averages; its transpose is left to autodiff.

    Attributes:
        pool: the operation.
        before: shape of one sample.
        terms: most elements that one average reads, or that read one element.
    """

    pool: Callable[[Tensor], Tensor]
    before: Shape
    terms: int

    @property
    def sums(self) -> Sums:
        return Sums(self.terms + 2, self.terms + 2)

    def value(self, *xs: Tensor) -> Tensor:
        return self.pool(xs[0])

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return Autodiff(self.pool, (self.before,))(values)


class Interpolation(AveragePool):
    """A weight that should be 0 may be a little more: each result is off in proportion to the largest element of its channel."""

    def size(self, *magnitudes: Tensor) -> Tensor:
        axes = tuple(range(2, magnitudes[0].dim()))
        return self.value(magnitudes[0].amax(axes, keepdim=True).expand_as(magnitudes[0]))


def _make_avg_pool(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    a = node.attrs
    settings = {
        "kernel_size": a["kernel"],
        "stride": a["stride"],
        "padding": a["padding"],
        "ceil_mode": a["ceil"],
        "count_include_pad": a["include_pad"],
    }
    if a["divisor"] is not None:
        settings["divisor_override"] = a["divisor"]
    return AveragePool(partial(getattr(F, node.op), **settings), shapes[0], prod(a["kernel"]))


def _make_adaptive(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    pool = partial(getattr(F, node.op), output_size=node.attrs["size"])
    return AveragePool(pool, shapes[0], prod(shapes[0][1:]))


for _axes in (1, 2, 3):
    operators.register(f"avg_pool{_axes}d")(_make_avg_pool)
    operators.register(f"adaptive_avg_pool{_axes}d")(_make_adaptive)


@operators.register("interpolate")
def make_interpolate(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    """Linear interpolation: its weights are not negative and sum to 1."""
    a = node.attrs
    resize = partial(F.interpolate, size=a["size"], scale_factor=a["scales"], mode=a["mode"], align_corners=a["corners"])
    # a weight is a difference of coordinates, so it is off in proportion to their size
    return Interpolation(resize, shapes[0], 16 + 4 * sum((*shapes[0][1:], *node.shape[1:])))
