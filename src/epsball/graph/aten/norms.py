"""Normalisations whose denominator depends on the input: layer, group, instance and RMS norm.

Each is written out as `d = x - mean`, `q = d / sqrt(mean(d^2) + eps)`, and followed by a node that changes no value but knows what
q is made of: bounds of the quotient alone forget it.
"""

from __future__ import annotations

import math

import torch

from epsball.graph.builder import Arguments, Builder, converts
from epsball.graph.graph import Node


def _normalised(b: Builder, x: Node, axes: tuple[int, ...], eps: float, *, centred: bool = True) -> Node:
    if centred:
        x = b.binary("sub", x, b.expand(b.reduce("mean", x, axes), x.shape))
    power = b.reduce("mean", b.unary("square", x), axes)
    inverse = b.unary("rsqrt", b.binary("add", power, eps))
    quotient = b.binary("mul", x, b.expand(inverse, x.shape))
    return b.emit("normalised", (quotient, x), x.shape, dims=axes, eps=eps, centred=centred)


def _scaled(b: Builder, y: Node, weight: Node | None, bias: Node | None, shape: tuple[int, ...] | None = None) -> Node:
    for op, constant in (("mul", weight), ("add", bias)):
        if constant is not None:
            y = b.binary(op, y, constant if shape is None else b.fixed(torch.reshape, constant, shape))
    return y


@converts("layer_norm", "native_layer_norm")
def _layer_norm(b: Builder, a: Arguments) -> Node:
    x: Node = a["input"]
    count = len(a["normalized_shape"])
    axes = tuple(range(len(x.shape) - count, len(x.shape)))
    return _scaled(b, _normalised(b, x, axes, float(a["eps"])), a.get("weight"), a.get("bias"))


@converts("rms_norm")
def _rms_norm(b: Builder, a: Arguments) -> Node:
    x: Node = a["input"]
    count = len(a["normalized_shape"])
    axes = tuple(range(len(x.shape) - count, len(x.shape)))
    eps = a.get("eps")
    return _scaled(b, _normalised(b, x, axes, 1.1920929e-07 if eps is None else float(eps), centred=False), a.get("weight"), None)


@converts("group_norm")
def _group_norm(b: Builder, a: Arguments) -> Node:
    x: Node = a["input"]
    groups = int(a["num_groups"])
    flat = b.reshape(x, (groups, math.prod(x.shape) // groups))
    y = b.reshape(_normalised(b, flat, (1,), float(a["eps"])), x.shape)
    return _scaled(b, y, a.get("weight"), a.get("bias"), (x.shape[0], *(1,) * (len(x.shape) - 1)))


@converts("instance_norm")
def _instance_norm(b: Builder, a: Arguments) -> Node:
    x: Node = a["input"]
    if not a.get("use_input_stats", True):
        raise b.refuse("instance norm with running statistics has no bounds", "track_running_stats=False, or batch norm")
    return _group_norm(b, {**a, "num_groups": x.shape[0]})
