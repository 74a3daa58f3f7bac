"""Average pooling: non-negative weights, so intervals go through it end by end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch.nn import functional as F

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


def _make_avg_pool(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:
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
    return Average(partial(getattr(F, node.op), **settings), shapes[0])


def _make_adaptive(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:
    return Average(partial(getattr(F, node.op), output_size=node.attrs["size"]), shapes[0])


for _axes in (1, 2, 3):
    operators.register(f"avg_pool{_axes}d")(_make_avg_pool)
    operators.register(f"adaptive_avg_pool{_axes}d")(_make_adaptive)


@operators.register("interpolate")
def make_interpolate(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:
    """Linear interpolation: its weights are not negative and sum to 1."""
    a = node.attrs
    resize = partial(F.interpolate, size=a["size"], scale_factor=a["scales"], mode=a["mode"], align_corners=a["corners"])
    return Average(resize, shapes[0])
