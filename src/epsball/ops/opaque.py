"""An operation that no rule covers: it is run, trained and attacked as it is, and whoever asks for a bound of it is told why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from epsball.graph.constants import filled
from epsball.graph.graph import Node, Shape
from epsball.ops.operator import Nonlinear, Relaxed, Slope

if TYPE_CHECKING:
    import torch

    from epsball.forms.interval import Interval
    from epsball.types import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Opaque(Nonlinear):
    """A node's own operation.

    Attributes:
        node: of the graph: its attributes are the function, its arguments, and the error of whoever asks for a bound.
        constants: values of the arguments that do not vary, in place.
        dtype: what its results are, if they are numbers, where the network runs in another precision; None: as they come.
    """

    node: Node
    constants: tuple[Tensor | None, ...]
    dtype: torch.dtype | None = None

    @classmethod
    def of(cls, node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Opaque:  # noqa: ARG003
        """The operator of a node."""
        return cls(node=node, constants=constants)

    def value(self, *xs: Tensor) -> Tensor:
        given = iter(xs)
        values = {
            name: next(given) if constant is None else constant
            for name, constant in zip(self.node.inputs, self.constants, strict=True)
        }
        found = filled(self.node, values.__getitem__)
        return found if self.dtype is None or not found.is_floating_point() else found.to(self.dtype)

    def interval(self, *pre: Interval) -> NoReturn:
        raise self.node.attrs["why"].with_traceback(None)

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        raise self.node.attrs["why"].with_traceback(None)

    def linear(self, *pre: Interval) -> NoReturn:
        raise self.node.attrs["why"].with_traceback(None)
