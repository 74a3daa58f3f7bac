"""Operators that rearrange: reshape, permute, cat, slice, pad, expand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Affine, Operator, operators
from epsball.interval import Interval
from epsball.rows import Rows
from epsball.types import Tensor


class Rearranging(Affine):
    """An operator that moves and repeats elements: intervals go through it end by end, and lose nothing."""

    def interval(self, *xs: Interval) -> Interval:
        return Interval(self.value(*(x.lower for x in xs)), self.value(*(x.upper for x in xs)))


@dataclass(frozen=True, eq=False)
class Reshape(Rearranging):
    """To another per-sample shape."""

    before: Shape
    after: Shape
    diagonal = True

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0].reshape(len(xs[0]), *self.after)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values.reshape(len(values), *self.before),)


@dataclass(frozen=True, eq=False)
class Permute(Rearranging):
    """Axes in another order; both orders count the batch as axis 0."""

    order: tuple[int, ...]
    inverse: tuple[int, ...]
    diagonal = True

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0].permute(self.order)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (values.permute(self.inverse),)


@dataclass(frozen=True, eq=False)
class Cat(Rearranging):
    """Side by side along one axis."""

    axis: int
    sizes: tuple[int, ...]

    def value(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return torch.split(values, list(self.sizes), self.axis)


@dataclass(frozen=True, eq=False)
class Slice(Rearranging):
    """Every `step`-th element of a range along one axis."""

    axis: int
    start: int
    stop: int
    step: int
    before: Shape
    diagonal = True

    def value(self, *xs: Tensor) -> Tensor:
        index = [slice(None)] * xs[0].dim()
        index[self.axis] = slice(self.start, self.stop, self.step)
        return xs[0][tuple(index)]

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        whole = values.new_zeros(len(values), *self.before)
        return (torch.slice_scatter(whole, values, self.axis, self.start, self.stop, self.step),)


@dataclass(frozen=True, eq=False)
class Pad(Rearranging):
    """A constant border; a negative width crops."""

    pads: tuple[int, ...]
    fill: float
    diagonal = True

    def value(self, *xs: Tensor) -> Tensor:
        return pad(xs[0], self.pads, value=self.fill)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (pad(values, [-p for p in self.pads]),)

    def offset(self, rows: Rows) -> Tensor | None:
        if self.fill == 0:
            return None
        inside = pad(torch.ones_like(self.pull(rows.flat())[0]), self.pads).bool()
        border = rows.flat().masked_fill(inside, 0).flatten(1).sum(1) * self.fill
        return border.view(rows.values.shape[:2])


@dataclass(frozen=True, eq=False)
class Expand(Rearranging):
    """Repeat axes of length 1."""

    before: Shape
    after: Shape

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0].expand(len(xs[0]), *self.after)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        axes = [i + 1 for i, (b, a) in enumerate(zip(self.before, self.after, strict=True)) if b != a]
        return (values.sum(axes, keepdim=True),)


@operators.register("reshape")
def make_reshape(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    return Reshape(shapes[0], node.shape)


@operators.register("permute")
def make_permute(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    order = (0, *(d + 1 for d in node.attrs["dims"]))
    return Permute(order, tuple(order.index(i) for i in range(len(order))))


@operators.register("cat")
def make_cat(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    axis = node.attrs["dim"]
    return Cat(axis + 1, tuple(shape[axis] for shape in shapes))


@operators.register("slice")
def make_slice(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    a = node.attrs
    return Slice(a["dim"] + 1, a["start"], a["stop"], a["step"], shapes[0])


@operators.register("pad")
def make_pad(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    return Pad(node.attrs["pads"], node.attrs["value"])


@operators.register("expand")
def make_expand(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:  # noqa: ARG001
    return Expand(shapes[0], node.shape)
