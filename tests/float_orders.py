"""Sums in many orders, and small networks evaluated in them: numpy and fractions only, nothing of the package.

A network is a list of nodes. `Nodes.run` evaluates it on points (P, *x) with every sum in a given order, in float32 or float64, or
in rationals, where it has no transcendental function. `Module` is the same network for torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Array = np.ndarray
WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}
ORDERS = ("left", "right", "pairwise", "shuffled", "fused", "hostile up", "hostile down")
EXACT = "exact"


@dataclass(frozen=True)
class Node:
    """One operation: its name, the nodes it reads, and its constants."""

    op: str
    args: tuple[int, ...]
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Sums:
    """How one evaluation adds up.

    Attributes:
        order: one of `ORDERS`, or `EXACT`.
        dtype: of the arithmetic.
        rng: what shuffles.
        push: for each node the direction, by element, in which an error of it raises an output.
    """

    order: str
    dtype: np.dtype
    rng: np.random.Generator
    push: dict[int, Array] = field(default_factory=dict)

    def products(self, left: Array, right: Array, node: int) -> Array:
        """`sum left * right` over the last axis."""
        if self.order == EXACT:
            return (left * right).sum(-1)
        if self.order == "fused":
            return _fused(left, right, self.dtype)
        return self.total(left * right, node)

    def total(self, terms: Array, node: int) -> Array:
        """The sum over the last axis."""
        if self.order == EXACT:
            return terms.sum(-1)
        if self.order.startswith("hostile"):
            push = self.push.get(node, np.ones(1)).reshape(-1)
            push = push.reshape(terms.shape[1:-1]) if push.size == terms[0, ..., 0].size else np.ones(1)
            towards = push.astype(WIDER[self.dtype]) * (1 if self.order.endswith("up") else -1)
            return _hostile(terms, np.broadcast_to(towards, terms.shape[:-1]))
        if self.order in ("pairwise", "fused"):
            return _pairwise(terms)
        count = terms.shape[-1]
        places = {"left": np.arange(count), "right": np.arange(count)[::-1]}.get(self.order)
        places = self.rng.permutation(count) if places is None else places
        return np.add.accumulate(terms[..., places], axis=-1, dtype=self.dtype)[..., -1]


def _pairwise(terms: Array) -> Array:
    while terms.shape[-1] > 1:
        odd = terms[..., -1:] if terms.shape[-1] % 2 else terms[..., :0]
        even = terms[..., : terms.shape[-1] // 2 * 2]
        terms = np.concatenate((even[..., ::2] + even[..., 1::2], odd), -1)
    return terms[..., 0]


def _fused(left: Array, right: Array, dtype: np.dtype) -> Array:
    """Four accumulators of fused multiply-adds (a product with its sum is rounded once, from a wider format), then their sum."""
    left, right = np.broadcast_arrays(left.astype(WIDER[dtype]), right.astype(WIDER[dtype]))
    lanes = []
    for lane in range(min(4, left.shape[-1])):
        sum_ = np.zeros(left.shape[:-1], dtype)
        for i in range(lane, left.shape[-1], 4):
            sum_ = (sum_ + left[..., i] * right[..., i]).astype(dtype)
        lanes.append(sum_)
    return _pairwise(np.stack(lanes, -1))


def _hostile(terms: Array, towards: Array) -> Array:
    """Each time the term is added whose rounding goes furthest in a direction."""
    wide, left = WIDER[terms.dtype], np.ones(terms.shape, bool)
    sum_ = np.zeros(terms.shape[:-1], terms.dtype)
    for _ in range(terms.shape[-1]):
        rounded = sum_[..., None] + terms
        error = (rounded.astype(wide) - (sum_[..., None].astype(wide) + terms)) * towards[..., None]
        pick = np.where(left, error, -np.inf).argmax(-1)[..., None]
        sum_ = np.take_along_axis(rounded, pick, -1)[..., 0]
        np.put_along_axis(left, pick, values=False, axis=-1)
    return sum_


def rationals(array: Array) -> Array:
    """The same numbers as fractions."""
    return np.vectorize(Fraction, otypes=[object])(array.astype(np.float64)) if array.dtype != object else array


def _window(x: Array, node: Node) -> Array:
    """(P, C, H, W) to the windows of a pooling (P, C, h, w, k)."""
    size = node.given["size"]
    p, c, h, w = x.shape
    parts = x.reshape(p, c, h // size, size, w // size, size)
    return parts.transpose(0, 1, 2, 4, 3, 5).reshape(p, c, h // size, w // size, size * size)


def _matrix(weight: Array, shape: tuple[int, ...]) -> Array:
    """A convolution (out, in, k, k) without padding as a matrix on the flat map."""
    out, _, k, _ = weight.shape
    c, h, w = shape
    side = (h - k + 1, w - k + 1)
    matrix = np.zeros((out, *side, c, h, w), weight.dtype)
    for i in range(side[0]):
        for j in range(side[1]):
            matrix[:, i, j, :, i : i + k, j : j + k] = weight
    return matrix.reshape(out * side[0] * side[1], c * h * w)


def _elementwise(function: Callable[[float], float]) -> Callable[[Array], Array]:
    return lambda x: np.vectorize(function, otypes=[np.float64])(x.astype(np.float64)).astype(x.dtype)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": _elementwise(math.tanh),
    "gelu": _elementwise(lambda x: 0.5 * x * math.erfc(-x * math.sqrt(0.5))),
    "exp": _elementwise(math.exp),
    "sin": _elementwise(math.sin),
}


@dataclass(frozen=True)
class Nodes:
    """A network: node 0 is the input, the last one the output (P, K)."""

    nodes: tuple[Node, ...]
    shape: tuple[int, ...]

    @property
    def rational(self) -> bool:
        """Whether its values are rational."""
        return not any(node.op in ("softmax", "layer_norm", *FUNCTIONS) for node in self.nodes)

    def run(self, x: Array, sums: Sums) -> list[Array]:
        """The value of every node."""
        values = [rationals(x) if sums.order == EXACT else x]
        for place, node in enumerate(self.nodes, 1):
            args = [values[i] for i in node.args]
            given = {k: rationals(v) if sums.order == EXACT and isinstance(v, np.ndarray) else v for k, v in node.given.items()}
            values.append(_value(node, args, given, sums, place))
        return values


def _value(node: Node, args: list[Array], given: dict[str, Any], sums: Sums, place: int) -> Array:
    x = args[0]
    if node.op in ("linear", "conv"):
        return _affine(node, x, given, sums, place)
    if node.op == "batch_norm":
        return _batch_norm(x, given, sums)
    if node.op in ("mean", "layer_norm", "softmax"):
        return _pooled(node, x, sums, place)
    if node.op == "matmul":
        return sums.products(x[..., :, None, :], np.swapaxes(args[1], -1, -2)[..., None, :, :], place)
    return FUNCTIONS[node.op](x) if node.op in FUNCTIONS else _exactly(node, args)


def _affine(node: Node, x: Array, given: dict[str, Any], sums: Sums, place: int) -> Array:
    """The bias is one more product, with 1."""
    weight, bias = given["weight"], given["bias"]
    if node.op == "conv":
        weight, bias = _matrix(weight, x.shape[1:]), np.repeat(bias, np.prod(given["after"][1:]))
        x = x.reshape(len(x), -1)
    left = np.broadcast_to(np.concatenate((weight, bias[:, None]), -1), (*x.shape[:-1], len(bias), weight.shape[1] + 1))
    right = np.concatenate((x, np.ones_like(x[..., :1])), -1)[..., None, :]
    y = sums.products(left, right, place)
    return y.reshape(len(x), *given["after"]) if node.op == "conv" else y


def _pooled(node: Node, x: Array, sums: Sums, place: int) -> Array:
    """Means and shares of one axis, or of a map."""
    if node.op == "mean":
        return sums.total(x.reshape(*x.shape[:2], -1), place) / x[0, 0].size
    if node.op == "softmax":
        e = FUNCTIONS["exp"](x - x.max(-1, keepdims=True))
        return e / sums.total(e, place)[..., None]
    count = x.dtype.type(x.shape[-1])
    d = x - (sums.total(x, place) / count)[..., None]
    return d / np.sqrt(sums.products(d, d, place) / count + x.dtype.type(1e-5))[..., None]


def _exactly(node: Node, args: list[Array]) -> Array:
    """Operations without a sum, or of two numbers."""
    x = args[0]
    if node.op == "relu":
        return np.maximum(x, 0 if x.dtype == object else x.dtype.type(0))
    if node.op == "max_pool":
        return _window(x, node).max(-1)
    if node.op in ("add", "sub", "mul"):
        return {"add": np.add, "sub": np.subtract, "mul": np.multiply}[node.op](*args)
    if node.op == "reshape":
        return x.reshape(len(x), *node.given["after"])
    if node.op == "transpose":
        return np.swapaxes(x, -1, -2)
    raise KeyError(node.op)


def _batch_norm(x: Array, given: dict[str, Any], sums: Sums) -> Array:
    """Either as it is written, or as a scale and a shift; the root of the variance and eps is rational."""
    weight, bias, mean, var = (given[k].reshape(-1, *(1,) * (x.ndim - 2)) for k in ("weight", "bias", "mean", "var"))
    if sums.order == EXACT:
        root = np.vectorize(lambda v: Fraction(math.isqrt(v.numerator), math.isqrt(v.denominator)), otypes=[object])
        return (x - mean) / root(var + Fraction(given["eps"])) * weight + bias
    root = np.sqrt(var + x.dtype.type(given["eps"]))
    if sums.order in ("left", "fused", "hostile up"):
        return (x - mean) / root * weight + bias
    scale = weight * (1 / root)
    return x * scale + (bias - mean * scale)


class Module(nn.Module):
    """The same network for torch."""

    def __init__(self, network: Nodes) -> None:
        super().__init__()
        self.nodes = network.nodes
        for place, node in enumerate(network.nodes):
            for key, value in node.given.items():
                if isinstance(value, np.ndarray):
                    self.register_buffer(f"{key}{place}", torch.from_numpy(value.copy()))

    def forward(self, x: Tensor) -> Tensor:
        return self.values(x)[-1]

    def values(self, x: Tensor) -> list[Tensor]:
        """The value of every node."""
        values = [x]
        for place, node in enumerate(self.nodes):
            given = {k: getattr(self, f"{k}{place}") if isinstance(v, np.ndarray) else v for k, v in node.given.items()}
            values.append(_torch(node.op, [values[i] for i in node.args], given))
        return values


def _torch(op: str, args: list[Tensor], given: dict[str, Any]) -> Tensor:
    x = args[0]
    simple: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: F.linear(x, given["weight"], given["bias"]),
        "conv": lambda: F.conv2d(x, given["weight"], given["bias"]),
        "batch_norm": lambda: F.batch_norm(
            x, given["mean"], given["var"], given["weight"], given["bias"], training=False, eps=given["eps"]
        ),
        "mean": lambda: x.flatten(2).mean(2),
        "layer_norm": lambda: F.layer_norm(x, x.shape[-1:]),
        "softmax": lambda: torch.softmax(x, -1),
        "matmul": lambda: x @ args[1],
        "relu": lambda: torch.relu(x),
        "max_pool": lambda: F.max_pool2d(x, given["size"]),
        "add": lambda: x + args[1],
        "sub": lambda: x - args[1],
        "mul": lambda: x * args[1],
        "reshape": lambda: x.reshape(len(x), *given["after"]),
        "transpose": lambda: x.transpose(-1, -2),
        "tanh": lambda: torch.tanh(x),
        "gelu": lambda: F.gelu(x),
        "exp": lambda: torch.exp(x),
        "sin": lambda: torch.sin(x),
    }
    return simple[op]()
