"""Average pooling: non-negative weights, so intervals go through it end by end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from epsball.bounding.operators.shape import Rearranging
from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Autodiff, Operator, operators
from epsball.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class Average(Rearranging):
    """A pooling that averages; its transpose is left to autodiff."""

    pool: Callable[[Tensor], Tensor]
    before: Shape

    def value(self, *xs: Tensor) -> Tensor:
        return self.pool(xs[0])

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return Autodiff(self.pool, (self.before,))(values)


@operators.register("avg_pool2d")
def make_avg_pool(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    a = node.attrs
    pool = partial(
        avg_pool2d,
        kernel_size=a["kernel"],
        stride=a["stride"],
        padding=a["padding"],
        ceil_mode=a["ceil"],
        count_include_pad=a["include_pad"],
        divisor_override=a["divisor"],
    )
    return Average(pool, shapes[0])


@operators.register("adaptive_avg_pool2d")
def make_adaptive(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    return Average(partial(adaptive_avg_pool2d, output_size=node.attrs["size"]), shapes[0])
