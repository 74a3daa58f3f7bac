"""Layers: linear, convolution and its transpose, batch norm, and what does nothing in evaluation mode."""

from __future__ import annotations

import torch

from epsball.errors import BadCapture
from epsball.graph.builder import Arguments, Builder, converts, spread
from epsball.graph.graph import Node


@converts(
    "clone", "contiguous", "alias", "dropout", "lift_fresh_copy", "native_dropout", "feature_dropout", "to", "_to_copy",
    "type_as",
)  # fmt: skip
def _identity(_: Builder, a: Arguments) -> Node:
    """What changes no value: a cast to another precision or an active dropout never gets here."""
    node: Node = a["self"] if "self" in a else a["input"]
    return node


@converts("linear")
def _linear(b: Builder, a: Arguments) -> Node:
    x, weight = a["input"], a["weight"]
    if weight.varies:
        raise b.refuse("a linear layer whose weight depends on the input has no bounds", "use constant weights")
    bias = (a["bias"],) if a.get("bias") is not None else ()
    return b.emit("linear", (x, weight, *bias), b.result)


@converts("conv1d", "conv2d", "conv3d")
def _conv(b: Builder, a: Arguments) -> Node:
    x, weight = a["input"], a["weight"]
    if weight.varies:
        raise b.refuse("a convolution whose weight depends on the input has no bounds", "use constant weights")
    spatial = len(weight.shape) - 2
    kernel = weight.shape[2:]
    dilation = spread(a.get("dilation", 1), spatial)
    padding = a.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [p for t in reversed(total) for p in (t // 2, t - t // 2)]
        shape = (*x.shape[:1], *(n + t for n, t in zip(x.shape[1:], total, strict=True)))
        x = b.emit("pad", (x,), shape, pads=tuple(pads), value=0.0)
        padding = 0
    bias = (a["bias"],) if a.get("bias") is not None else ()
    return b.emit(
        "conv",
        (x, weight, *bias),
        b.result,
        stride=spread(a.get("stride", 1), spatial),
        padding=spread(padding, spatial),
        dilation=dilation,
        groups=int(a.get("groups", 1)),
    )


@converts("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(b: Builder, a: Arguments) -> Node:
    x, weight = a["input"], a["weight"]
    if weight.varies:
        raise b.refuse("a convolution whose weight depends on the input has no bounds", "use constant weights")
    spatial = len(weight.shape) - 2
    bias = (a["bias"],) if a.get("bias") is not None else ()
    return b.emit(
        "conv_transpose",
        (x, weight, *bias),
        b.result,
        stride=spread(a.get("stride", 1), spatial),
        padding=spread(a.get("padding", 0), spatial),
        rest=spread(a.get("output_padding", 0), spatial),
        dilation=spread(a.get("dilation", 1), spatial),
        groups=int(a.get("groups", 1)),
    )


@converts("_native_batch_norm_legit_no_training", "batch_norm")
def _batch_norm(b: Builder, a: Arguments) -> Node:
    if a.get("training"):
        raise BadCapture("batch norm was captured in training mode", where=str(b.at), fix="call .eval() first")
    x, mean, var = a["input"], a["running_mean"], a["running_var"]
    if mean is None or var is None:
        raise b.refuse("batch norm without running statistics mixes the batch", "set track_running_stats=True")
    weight = a.get("weight") or b.fixed(torch.full_like, mean, 1.0)
    bias = a.get("bias") or b.fixed(torch.full_like, mean, 0.0)
    return b.emit(
        "batch_norm",
        (x, weight, bias, mean, var),
        x.shape,
        eps=float(a["eps"]),
        momentum=float(a["momentum"]),
    )
