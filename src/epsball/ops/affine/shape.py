"""Operators that rearrange: reshape, permute, cat, slice, pad, expand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.nn.functional import pad

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat, node_sum
from epsball.graph.graph import Node, Shape
from epsball.ops.operator import MOVES, Affine, Sums, operators, unsupported
from epsball.rounding import Ends, outside
from epsball.types import Tensor


class Rearranging(Affine):
    """An operator that moves, repeats and adds up elements with weights >= 0: intervals go through it end by end."""

    @property
    def sums(self) -> Sums:
        return MOVES

    def size(self, *magnitudes: Tensor) -> Tensor:
        return self.value(*magnitudes)

    def interval(self, *xs: Interval) -> Interval:
        """Both ends; a sum of an end's elements is off in proportion to their absolute values, so that its sign stays."""
        low, high = self.value(*(x.lower for x in xs)), self.value(*(x.upper for x in xs))
        if self.rounding is None or self.sums.value == 0:
            return Interval(low, high)
        sizes = (self.size(*(end.abs() for end in ends)) for ends in zip(*xs, strict=True))
        share = self.rounding.gamma(self.sums.value + 1, self.sums.value + 8)
        return Interval(*outside(Ends(low, high, *sizes), share, self.rounding.tiny))


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
    """Side by side along one axis, among constants."""

    axis: int
    sizes: tuple[int, ...]
    constants: tuple[Tensor | None, ...]  # in place; None where a part varies

    def value(self, *xs: Tensor) -> Tensor:
        given = iter(xs)
        parts = [next(given) if c is None else c.expand(len(xs[0]), *c.shape) for c in self.constants]
        return torch.cat(parts, self.axis)

    def size(self, *magnitudes: Tensor) -> Tensor:
        return replace(self, constants=tuple(None if c is None else c.abs() for c in self.constants)).value(*magnitudes)

    @property
    def constant(self) -> Tensor | None:
        if all(c is None for c in self.constants):
            return None
        first = next(c for c in self.constants if c is not None)
        parts = []
        for size, c in zip(self.sizes, self.constants, strict=True):
            shape = list(first.shape)
            shape[self.axis - 1] = size
            parts.append(first.new_zeros(shape) if c is None else c.abs())
        return torch.cat(parts, self.axis - 1)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        parts = torch.split(values, list(self.sizes), self.axis)
        return tuple(part for part, c in zip(parts, self.constants, strict=True) if c is None)

    def offset(self, rows: Rows) -> Tensor | None:
        total: Tensor | None = None
        for part, c in zip(torch.split(rows.values, list(self.sizes), self.axis + 1), self.constants, strict=True):
            if c is not None:
                gained = node_sum(part * c)
                total = gained if total is None else total + gained
        return total


@dataclass(frozen=True, eq=False)
class Take(Rearranging):
    """`y = x.flatten()[index]`: any movement of data that is the same for every sample."""

    index: Tensor
    before: Shape

    def value(self, *xs: Tensor) -> Tensor:
        index = self.index.to(xs[0].device)
        return node_flat(xs[0], 1)[:, index.flatten()].view(len(xs[0]), *index.shape)

    @cached_property
    def sums(self) -> Sums:
        index = self.index.flatten()
        return Sums(0, int(torch.bincount(index % math.prod(self.before)).max()) if len(index) else 1)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        whole = values.new_zeros(len(values), math.prod(self.before))
        index = self.index.to(values.device)
        return (whole.index_add(1, index.flatten(), node_flat(values, 1)).view(len(values), *self.before),)


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

    def size(self, *magnitudes: Tensor) -> Tensor:
        return pad(magnitudes[0], self.pads, value=abs(self.fill))

    @property
    def constant(self) -> Tensor | None:
        return None if self.fill == 0 else torch.full((), abs(self.fill), dtype=torch.float64)

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

    @property
    def sums(self) -> Sums:
        return Sums(0, math.prod(self.after) // math.prod(self.before))

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0].expand(len(xs[0]), *self.after)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        axes = [i + 1 for i, (b, a) in enumerate(zip(self.before, self.after, strict=True)) if b != a]
        return (values.sum(axes, keepdim=True),)


@operators.register("reshape")
def make_reshape(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return Reshape(shapes[0], node.shape)


@operators.register("permute")
def make_permute(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    order = (0, *(d + 1 for d in node.attrs["dims"]))
    return Permute(order, tuple(order.index(i) for i in range(len(order))))


@operators.register("cat")
def make_cat(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    axis, varying = node.attrs["dim"], iter(shapes)
    sizes = tuple(next(varying)[axis] if c is None else c.shape[axis] for c in constants)
    return Cat(axis + 1, sizes, constants)


@operators.register("take")
def make_take(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    if constants[1] is None:
        raise unsupported(node, "the index depends on the input", "a constant index")
    return Take(constants[1], shapes[0])


@operators.register("slice")
def make_slice(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    a = node.attrs
    return Slice(a["dim"] + 1, a["start"], a["stop"], a["step"], shapes[0])


@operators.register("pad")
def make_pad(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return Pad(node.attrs["pads"], node.attrs["value"])


@operators.register("expand")
def make_expand(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Affine:
    return Expand(shapes[0], node.shape)
