"""The builder of a graph: nodes with per-sample shapes, and the vocabulary in which composite operators are written out.

A converter receives the builder (which knows the shapes of what came before) and the arguments of one of torch's operators by
name, and returns the node that stands for the result, or a list of them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from epsball.errors import BadCapture, UnsupportedOp
from epsball.graph.constants import Ref
from epsball.graph.graph import Node, Shape, Where

Arguments = dict[str, Any]
SAMPLES = 3  # of the batch that is traced: one would be specialised away


class Builder:
    """Collects canonical nodes; `at` is the user's line of the operation under conversion, `result` its per-sample shape."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.at = Where()
        self.result: Shape = ()

    def emit(self, op: str, inputs: tuple[Node, ...], shape: Shape, **attrs: object) -> Node:
        """Append a varying node."""
        names = tuple(n.name for n in inputs)
        return self.keep(Node(self._fresh(op), op, names, MappingProxyType(attrs), shape, True, self.at))

    def constant(self, op: str, shape: Shape, **attrs: object) -> Node:
        """Append a node that does not depend on the input."""
        return self.keep(Node(self._fresh(op), op, (), MappingProxyType(attrs), shape, False, self.at))

    def fixed(self, target: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> Node:
        """A constant computed from others when parameters are bound."""

        def given(argument: Any, how: Callable[[Node], Any]) -> Any:
            return how(argument) if isinstance(argument, Node) else argument

        shapes = [given(a, lambda n: torch.empty(n.shape, dtype=torch.float32, device="meta")) for a in args]
        shape = tuple(target(*shapes, **kwargs).shape)
        refs = tuple(given(a, lambda n: Ref(n.name)) for a in args)
        return self.constant("const", shape, target=target, args=refs, kwargs=kwargs)

    def held(self, tensor: torch.Tensor) -> Node:
        """A constant that is part of the graph itself: an index, a mask."""
        return self.constant("const", tuple(tensor.shape), target=lambda: tensor, args=(), kwargs={})

    def keep(self, node: Node) -> Node:
        self.nodes[node.name] = node
        return node

    def operand(self, value: Any) -> Node:
        """A node as it is; a number becomes a literal."""
        return value if isinstance(value, Node) else self.constant("literal", (), value=float(value))

    def refuse(self, what: str, fix: str) -> UnsupportedOp:
        return UnsupportedOp(what, where=str(self.at), fix=fix)

    def axis(self, dim: int, rank: int) -> int:
        """A per-sample axis from torch's axis of a batch of rank-`rank` samples."""
        dim = dim + rank + 1 if dim < 0 else dim
        if dim == 0:
            raise BadCapture(
                "an operation works across the batch axis",
                where=str(self.at),
                fix="treat each sample on its own: axis 0 is the batch",
            )
        return dim - 1

    def per_sample(self, constant: Node, rank: int) -> Node:
        """A constant that broadcasts against (B, *n): drop its own batch axis.

        One as long as the batch of the trace comes from `expand(len(x), ...)`; that its rows are equal is seen when the graph is
        checked against the module.
        """
        if len(constant.shape) <= rank:
            return constant
        if len(constant.shape) == rank + 1 and constant.shape[0] in {1, SAMPLES}:
            return self.fixed(torch.select, constant, 0, 0)
        raise BadCapture(
            f"a constant of shape {tuple(constant.shape)} is combined with a batch",
            where=str(self.at),
            fix="give it no batch axis, or one of length 1",
        )

    def _fresh(self, op: str) -> str:
        name, count = op, 0
        while name in self.nodes:
            count += 1
            name = f"{op}_{count}"
        return name

    # the vocabulary of composite operators

    def expand(self, node: Node, shape: Shape) -> Node:
        """A varying node repeated along its axes of length 1."""
        if node.shape == shape:
            return node
        if len(node.shape) != len(shape):
            raise self.refuse(
                f"operands of per-sample shapes {node.shape} and {shape} broadcast over the batch axis",
                "give both operands the same number of axes",
            )
        return self.emit("expand", (node,), shape)

    def binary(self, op: str, left: Any, right: Any) -> Node:
        """add, sub, mul or div of two operands, at least one of which varies."""
        pair = [self.operand(left), self.operand(right)]
        rank = max(len(n.shape) for n in pair if n.varies)
        pair = [n if n.varies else self.per_sample(n, rank) for n in pair]
        shape = broadcast(*(n.shape for n in pair))
        a, b = (self.expand(n, shape) if n.varies else n for n in pair)
        if op == "mul" and a.name == b.name:
            return self.unary("square", a)
        if op == "div" and b.varies:
            inverse = self.unary("reciprocal", b)
            return inverse if a.op == "literal" and a.attrs["value"] == 1 else self.binary("mul", a, inverse)
        return self.emit(op, (a, b), shape)

    def unary(self, op: str, x: Node, **attrs: object) -> Node:
        """An elementwise function."""
        return self.emit(op, (x,), x.shape, **attrs)

    def reshape(self, x: Node, shape: Shape) -> Node:
        return x if x.shape == shape else self.emit("reshape", (x,), shape)

    def permute(self, x: Node, dims: tuple[int, ...]) -> Node:
        """Per-sample axes in another order."""
        if dims == tuple(range(len(dims))):
            return x
        return self.emit("permute", (x,), tuple(x.shape[d] for d in dims), dims=dims)

    def slice(self, x: Node, axis: int, start: int, stop: int, step: int = 1) -> Node:
        size = len(range(start, stop, step))
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return self.emit("slice", (x,), shape, dim=axis, start=start, stop=stop, step=step)

    def select(self, x: Node, axis: int, index: int) -> Node:
        index %= x.shape[axis]
        return self.reshape(self.slice(x, axis, index, index + 1), (*x.shape[:axis], *x.shape[axis + 1 :]))

    def reduce(self, op: str, x: Node, axes: tuple[int, ...], *, keepdim: bool = True) -> Node:
        """A sum or mean over per-sample axes."""
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        shape = kept if keepdim else tuple(n for i, n in enumerate(x.shape) if i not in axes)
        return self.emit(op, (x,), shape, dims=axes, keepdim=keepdim)

    def linear(self, x: Node, weight: Node, bias: Node | None = None) -> Node:
        inputs = (x, weight) if bias is None else (x, weight, bias)
        return self.emit("linear", inputs, (*x.shape[:-1], weight.shape[0]))

    def take(self, x: Node, index: torch.Tensor) -> Node:
        """Elements of a sample by their flat index: any movement of data."""
        return self.emit("take", (x, self.held(index)), tuple(index.shape))


Converter = Callable[[Builder, Arguments], "Node | list[Node]"]
TABLE: dict[str, Converter] = {}


C = TypeVar("C", bound=Converter)


def converts(*names: str) -> Callable[[C], C]:
    """File a converter under the names of torch's operators."""

    def keep(converter: C) -> C:
        TABLE.update(dict.fromkeys(names, converter))
        return converter

    return keep


def broadcast(*shapes: Shape) -> Shape:
    """The shape that operands of these shapes have together."""
    total = torch.empty((), dtype=torch.float32, device="meta")
    for shape in shapes:
        total = total + torch.empty(shape, dtype=torch.float32, device="meta")
    return tuple(total.shape)


def spread(value: Any, count: int) -> tuple[int, ...]:
    """One number for each axis."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values
