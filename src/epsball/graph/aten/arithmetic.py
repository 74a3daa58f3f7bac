"""Elementwise operators: arithmetic, activations, choices by a constant."""

from __future__ import annotations

import math
from typing import Any

import torch

from epsball.graph.builder import Arguments, Builder, converts
from epsball.graph.graph import Node

_SAME = (
    "neg", "relu", "sigmoid", "tanh", "silu", "mish", "exp", "log", "log_sigmoid", "sqrt", "rsqrt", "reciprocal", "square", "abs",
    "sign", "sin", "cos", "erf", "atan", "hardswish",
)  # fmt: skip


@converts("add", "sub", "mul", "rsub")
def _binary(b: Builder, a: Arguments) -> Node:
    op, left, right = str(a["__op__"]), b.operand(a["self"]), b.operand(a["other"])
    if op == "rsub":
        op, left, right = "sub", right, left
    alpha = a.get("alpha", 1)
    if alpha != 1:
        right = _of_two(b, "mul", right, b.operand(alpha))
    return b.binary(op, left, right)


@converts("div")
def _div(b: Builder, a: Arguments) -> Node:
    if a.get("rounding_mode") is not None:
        raise b.refuse("division with rounding has no bounds", "divide without rounding_mode")
    return b.binary("div", a["self"], a["other"])


@converts("addcmul", "addcdiv")
def _addcmul(b: Builder, a: Arguments) -> Node:
    product = _of_two(b, "mul" if a["__op__"] == "addcmul" else "div", a["tensor1"], a["tensor2"])
    if a.get("value", 1) != 1:
        product = _of_two(b, "mul", product, b.operand(a["value"]))
    return _of_two(b, "add", a["self"], product)


def _of_two(b: Builder, op: str, left: Node, right: Node) -> Node:
    """An operation of two nodes, either of which may be constant."""
    if left.varies or right.varies:
        return b.binary(op, left, right)
    return b.fixed(getattr(torch, op), left, right)


@converts("lerp")
def _lerp(b: Builder, a: Arguments) -> Node:
    step = _of_two(b, "mul", _of_two(b, "sub", a["end"], a["self"]), b.operand(a["weight"]))
    return _of_two(b, "add", a["self"], step)


@converts(*_SAME)
def _unary(b: Builder, a: Arguments) -> Node:
    return b.unary(str(a["__op__"]), a["self"])


@converts("gelu")
def _gelu(b: Builder, a: Arguments) -> Node:
    return b.unary("gelu_tanh" if a.get("approximate") == "tanh" else "gelu", a["self"])


@converts("softplus")
def _softplus(b: Builder, a: Arguments) -> Node:
    return b.unary("softplus", a["self"], beta=float(a.get("beta", 1)), threshold=float(a.get("threshold", 20)))


@converts("elu", "celu", "selu")
def _elu(b: Builder, a: Arguments) -> Node:
    alpha, scale, rate = float(a.get("alpha", 1)), float(a.get("scale", 1)), float(a.get("input_scale", 1))
    if a["__op__"] == "celu":
        rate = 1 / alpha
    if a["__op__"] == "selu":
        alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    if min(alpha, scale, rate) < 0:
        raise b.refuse("elu with a negative parameter has no bounds", "elu with alpha >= 0")
    return b.unary("elu", a["self"], alpha=alpha, scale=scale, input_scale=rate)


@converts("leaky_relu")
def _leaky_relu(b: Builder, a: Arguments) -> Node:
    return b.unary("leaky_relu", a["self"], slope=float(a.get("negative_slope", 0.01)))


@converts("prelu")
def _prelu(b: Builder, a: Arguments) -> Node:
    """`w x + (1 - w) relu(x)`: one relaxed part, whatever the slopes."""
    x, weight = a["self"], a["weight"]
    if len(weight.shape) == 1 and weight.shape != (1,):  # one slope a channel
        weight = b.fixed(torch.reshape, weight, (weight.shape[0], *(1,) * (len(x.shape) - 1)))
    rest = b.fixed(torch.sub, b.operand(1.0), weight)
    return b.binary("add", b.binary("mul", x, weight), b.binary("mul", b.unary("relu", x), rest))


@converts("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6")
def _clamp(b: Builder, a: Arguments) -> Node:
    low, high = {
        "clamp": (a.get("min"), a.get("max")),
        "clamp_min": (a.get("min"), None),
        "clamp_max": (None, a.get("max")),
        "hardtanh": (a.get("min_val", -1), a.get("max_val", 1)),
        "relu6": (0, 6),
    }[str(a["__op__"])]
    if isinstance(low, Node) or isinstance(high, Node):
        raise b.refuse("clamp between tensors has no bounds", "clamp between numbers, or torch.maximum and torch.minimum")
    return b.unary("clamp", a["self"], low=-math.inf if low is None else float(low), high=math.inf if high is None else float(high))


@converts("hardsigmoid")
def _hardsigmoid(b: Builder, a: Arguments) -> Node:
    return b.unary("clamp", b.binary("add", b.binary("mul", a["self"], 1 / 6), 0.5), low=0.0, high=1.0)


@converts("pow")
def _pow(b: Builder, a: Arguments) -> Node:
    base, p = a["self"], a["exponent"]
    if isinstance(p, Node):
        if isinstance(base, Node) or base <= 0:
            raise b.refuse("a power of two tensors has no bounds", "x ** number, or a positive number ** x")
        return b.unary("exp", b.binary("mul", p, math.log(base)))
    named = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
    if float(p) == 1:
        return _node(base)
    if float(p) == 0:
        raise b.refuse("x ** 0 is a constant", "write 1")
    return b.unary(named[float(p)], base) if float(p) in named else b.unary("pow", base, exponent=float(p))


def _node(value: Any) -> Node:
    node: Node = value
    return node


@converts("exp2", "expm1", "log1p", "log2", "log10")
def _logarithms(b: Builder, a: Arguments) -> Node:
    x, op = a["self"], a["__op__"]
    if op == "exp2":
        return b.unary("exp", b.binary("mul", x, math.log(2)))
    if op == "expm1":
        return b.binary("sub", b.unary("exp", x), 1.0)
    if op == "log1p":
        return b.unary("log", b.binary("add", x, 1.0))
    return b.binary("mul", b.unary("log", x), 1 / math.log(2 if op == "log2" else 10))


@converts("glu")
def _glu(b: Builder, a: Arguments) -> Node:
    x = a["self"]
    axis = b.axis(a.get("dim", -1), len(x.shape))
    half = x.shape[axis] // 2
    return b.binary("mul", b.slice(x, axis, 0, half), b.unary("sigmoid", b.slice(x, axis, half, 2 * half)))


@converts("maximum", "minimum")
def _maximum(b: Builder, a: Arguments) -> Node:
    """`max(x, y) = y + relu(x - y)`, `min(x, y) = y - relu(y - x)`."""
    x, y = a["self"], a["other"]
    if a["__op__"] == "maximum":
        return b.binary("add", b.unary("relu", b.binary("sub", x, y)), y)
    return b.binary("sub", y, b.unary("relu", b.binary("sub", y, x)))


@converts("where", "masked_fill")
def _where(b: Builder, a: Arguments) -> Node:
    """A choice by a constant: both sides by a mask of zeros and ones. Minus infinity, as in attention, becomes -1e30."""
    if a["__op__"] == "masked_fill":
        condition, kept, other = a["mask"], a["value"], a["self"]
    else:
        condition, kept, other = a["condition"], a["self"], a["other"]
    if condition.varies:
        raise b.refuse("a choice that depends on the input has no bounds", "relu, clamp, torch.maximum or torch.minimum")
    sides = [_chosen(b, condition, side, sign) for side, sign in ((b.operand(kept), True), (b.operand(other), False))]
    return _of_two(b, "add", *sides)


def _chosen(b: Builder, condition: Node, side: Node, when: bool) -> Node:
    if side.varies:
        # the literal carries the networks's precision, which a mask does not
        mask = b.fixed(_as_numbers, condition, b.operand(1.0), when)
        return b.binary("mul", side, mask)
    return b.fixed(_or_zero, condition, side, when)


def _as_numbers(condition: torch.Tensor, one: torch.Tensor, when: bool) -> torch.Tensor:
    return torch.where(condition.to(one.device) == when, one, 0.0)


def _or_zero(condition: torch.Tensor, side: torch.Tensor, when: bool) -> torch.Tensor:
    return torch.where(condition.to(side.device) == when, side.clamp(-1e30, 1e30), 0.0)
