"""Random small networks with large hidden values that cancel in the output: where rounding shows. Nothing of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tests.float_orders import EXACT, ORDERS, Array, Module, Node, Nodes, Sums

LARGEST = {np.dtype(np.float32): 24, np.dtype(np.float64): 51}  # powers of 2 of hidden values
OUTPUTS = 3


@dataclass(eq=False)
class Maker:
    """Draws the nodes of one network.

    Attributes:
        dtype: of its parameters.
        size: of its hidden values.
        rng: where they come from.
    """

    dtype: np.dtype
    size: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: str, *args: int, **given: object) -> int:
        """A node; its number."""
        self.nodes.append(Node(op, args, given))
        return len(self.nodes)

    def array(self, *shape: int, size: float = 1.0) -> Array:
        return (self.rng.standard_normal(shape) * size).astype(self.dtype)

    def linear(self, at: int, fan_in: int, out: int, size: float = 1.0) -> int:
        """Plain weights; or every second row nearly the one before; or one giant term that swallows many small ones."""
        weight, bias = self.array(out, fan_in, size=size / fan_in**0.5), self.array(out, size=size * self.rng.choice([0.1, 1.0]))
        kind = self.rng.integers(3)
        if kind == 1:
            weight[1::2], bias[1::2] = weight[: out // 2 * 2 : 2] * (1 + self.array(1, size=1e-3)), bias[: out // 2 * 2 : 2]
        elif kind == 2:
            weight = self.array(out, fan_in, size=self.rng.choice([0.4, 1.1, 2.6]))
            bias = np.full(out, size, self.dtype)
        return self.add("linear", at, weight=weight, bias=bias)

    def batch_norm(self, at: int, count: int) -> int:
        """Means of the size of hidden values; roots of `var + eps` are rational."""
        root = (self.rng.integers(32, 256, count) / 64).astype(self.dtype)
        mean, eps = self.array(count, size=self.size), 2.0**-10
        var = (root * root - self.dtype.type(eps)).astype(self.dtype)
        return self.add("batch_norm", at, weight=self.array(count), bias=self.array(count), mean=mean, var=var, eps=eps)

    def head(self, at: int, x: Array, shape: tuple[int, ...]) -> None:
        """A last layer in which the hidden values cancel: exactly in pairs, or all together at the centre."""
        hidden = Nodes(tuple(self.nodes), shape).run(x, Sums("left", self.dtype, self.rng))[at][0].astype(np.float64)
        weight = self.rng.standard_normal((OUTPUTS, len(hidden)))
        if self.rng.integers(2):
            weight[:, 1::2] = -weight[:, : len(hidden) // 2 * 2 : 2]
        norm = hidden @ hidden
        if norm > 0 and self.rng.integers(3):
            weight -= np.outer(weight @ hidden, hidden) / norm
        self.add("linear", at, weight=weight.astype(self.dtype), bias=self.array(OUTPUTS))


def _mlp(make: Maker, wide: int) -> int:
    at = make.add("relu", make.linear(0, 6, wide, make.size))
    return at if make.rng.integers(2) else make.add("relu", make.linear(at, wide, wide))


def _norm(make: Maker, wide: int) -> int:
    if make.rng.integers(2):  # one that is folded, or one after an activation
        return make.add("relu", make.batch_norm(make.linear(0, 6, wide, make.size), wide))
    return make.batch_norm(make.add("relu", make.linear(0, 6, wide, make.size)), wide)


def _residual(make: Maker, wide: int) -> int:
    at = make.add("relu", make.linear(0, 6, wide, make.size))
    other = make.add("relu", make.linear(at, wide, wide))
    both = make.add(str(make.rng.choice(["add", "sub"])), at, other)
    return make.add("sub", both, at)


def _product(make: Maker, wide: int) -> int:
    left, right = make.linear(0, 6, wide, make.size**0.5), make.linear(0, 6, wide, make.size**0.5)
    both = make.add("mul", left, make.add("relu", right) if make.rng.integers(2) else right)
    return make.add("sub", both, make.linear(0, 6, wide, make.size)) if make.rng.integers(2) else both


def _smooth(make: Maker, wide: int) -> int:
    at = make.add(str(make.rng.choice(["tanh", "gelu", "sin"])), make.linear(0, 6, wide, 2.0))
    return make.linear(at, wide, wide, make.size)


def _layer_norm(make: Maker, wide: int) -> int:
    return make.linear(make.add("layer_norm", make.linear(0, 6, wide, make.size)), wide, wide)


def _chain(make: Maker, wide: int) -> int:
    """Many small biases, and a large one at the end, which swallows them one by one where a form is pulled back: the output."""
    size = 2.0 ** np.floor(np.log2(make.size))
    step, eye = size * np.finfo(make.dtype).eps / 2, np.eye(OUTPUTS, dtype=make.dtype)
    at, bias = make.linear(0, 6, OUTPUTS, step), step * make.rng.choice([0.99, 1.01], OUTPUTS)
    for _ in range(int(make.rng.choice([6, 50]))):
        at = make.add("linear", at, weight=eye, bias=bias.astype(make.dtype))
        at = make.add("relu", at) if make.rng.integers(4) == 0 else at
    return make.add("linear", at, weight=eye, bias=np.full(OUTPUTS, size, make.dtype))


def _swallow(make: Maker, wide: int) -> int:
    """One term that swallows half a unit in its last place of every other: no sum loses more. It is the output itself."""
    step, size = np.finfo(make.dtype).eps / 2, 2.0 ** np.floor(np.log2(make.size))
    small = size * step * make.rng.choice([0.99, 1.01], (OUTPUTS, 1))
    if make.rng.integers(2):
        weight = np.broadcast_to(small, (OUTPUTS, 6)).astype(make.dtype)
        return make.add("linear", 0, weight=weight, bias=np.full(OUTPUTS, size, make.dtype))
    width = 5 * wide
    weight = np.zeros((OUTPUTS * width, 6), make.dtype)
    weight[:, 0] = np.concatenate((np.full((OUTPUTS, 1), size), np.broadcast_to(small, (OUTPUTS, width - 1))), 1).reshape(-1)
    at = make.add("linear", 0, weight=weight, bias=np.zeros(len(weight), make.dtype))
    return make.add("mean", make.add("reshape", at, after=(OUTPUTS, width)))


def _conv(make: Maker) -> int:
    weight = make.array(3, 2, 3, 3, size=make.size / 4)
    at = make.add("conv", 0, weight=weight, bias=make.array(3, size=make.size), after=(3, 4, 4))
    at = make.add("relu", make.batch_norm(at, 3) if make.rng.integers(2) else at)
    kind = make.rng.integers(3)
    if kind == 0:
        return make.add("mean", at)
    if kind == 1:
        return make.add("reshape", make.add("max_pool", at, size=2), after=(12,))
    at = make.add("conv", at, weight=make.array(3, 3, 2, 2), bias=make.array(3), after=(3, 3, 3))
    return make.add("reshape", make.add("relu", at), after=(27,))


def _attention(make: Maker) -> int:
    query, key, value = (make.linear(0, 4, 4, size) for size in (1.0, 1.0, make.size))
    share = make.add("softmax", make.add("matmul", query, make.add("transpose", key)))
    return make.add("reshape", make.add("matmul", share, value), after=(12,))


FLAT: dict[str, Callable[[Maker, int], int]] = {
    "mlp": _mlp, "norm": _norm, "residual": _residual, "product": _product, "smooth": _smooth, "layer norm": _layer_norm,
    "chain": _chain, "swallow": _swallow,
}  # fmt: skip
SHAPED: dict[str, tuple[Callable[[Maker], int], tuple[int, ...]]] = {
    "conv": (_conv, (2, 6, 6)),
    "attention": (_attention, (3, 4)),
}
FAMILIES = (*FLAT, *SHAPED)
WHOLE = ("chain", "swallow")  # families that need no last layer
RADII = (0.0, 1e-7, 1e-5, 1e-2)


@dataclass(frozen=True, eq=False)
class Case:
    """One network with its boxes, one a radius, and the points of each that are evaluated (B, P, *x)."""

    family: str
    network: Nodes
    module: Module
    centre: Array
    radii: Array
    points: Array

    def outputs(self, rng: np.random.Generator) -> dict[str, Array]:
        """(B, P, K) by order: every evaluation in the module's precision, and torch's own."""
        flat = self.points.reshape(-1, *self.network.shape)
        shape = (*self.points.shape[:2], OUTPUTS)
        push = self._push()
        found = {order: self.network.run(flat, Sums(order, flat.dtype, rng, push))[-1].reshape(shape) for order in ORDERS}
        with torch.no_grad():
            found["torch"] = self.module(torch.from_numpy(flat)).numpy().reshape(shape)
        return found

    def exact(self) -> Array | None:
        """(B, p, K) in rationals at the first points of each box, or None where there are none."""
        if not self.network.rational:
            return None
        few = self.points[:, :3]
        values = self.network.run(few.reshape(-1, *self.network.shape), Sums(EXACT, few.dtype, np.random.default_rng(0)))[-1]
        return values.reshape(*few.shape[:2], OUTPUTS)

    def _push(self) -> dict[int, Array]:
        """The sign with which each element enters the first output, at the centre."""
        x = torch.from_numpy(self.centre[:1]).double().requires_grad_()
        values = Module(self.network).double().values(x)
        grads = torch.autograd.grad(values[-1][0, 0], values, allow_unused=True)
        return {place: np.sign(g.numpy()) for place, g in enumerate(grads) if g is not None}


def case(seed: int, dtype: type = np.float32) -> Case:
    """The case of a seed."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    family = FAMILIES[seed % len(FAMILIES)]
    shape = SHAPED[family][1] if family in SHAPED else (6,)
    make = Maker(kind, 2.0 ** rng.uniform(0, LARGEST[kind]), rng)
    centre = np.repeat(rng.random((1, *shape)).astype(kind) if family != "swallow" else np.ones((1, *shape), kind), len(RADII), 0)
    at = SHAPED[family][0](make) if family in SHAPED else FLAT[family](make, int(rng.integers(2, 12)))
    if family not in WHOLE:
        make.head(at, centre[:1], shape)
    network = Nodes(tuple(make.nodes), shape)
    radii = np.broadcast_to(np.array(RADII).reshape(-1, *(1,) * len(shape)), centre.shape)
    return Case(family, network, Module(network), centre, radii, _points(centre, radii, rng))


def _points(centre: Array, radii: Array, rng: np.random.Generator) -> Array:
    """(B, 6, *x) the centre, two opposite corners, and random points, all in the exact box."""
    sign = rng.choice([-1.0, 1.0], centre.shape)
    tried = [np.zeros_like(sign), sign, -sign, *(rng.uniform(-1, 1, centre.shape) for _ in range(3))]
    wide = np.longdouble if centre.dtype == np.float64 else np.float64
    found = []
    for step in tried:
        point = (centre + step * radii).astype(centre.dtype)
        for _ in range(2):  # back inside, where it was rounded outwards
            beyond = np.abs(point.astype(wide) - centre) > radii
            point = np.where(beyond, np.nextafter(point, centre), point)
        found.append(point)
    return np.stack(found, 1)
