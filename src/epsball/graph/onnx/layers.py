"""Layers: matrix products, convolutions, pooling, normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from epsball.errors import BadFile
from epsball.graph.onnx.calls import Call, Value, operator
from epsball.types import Tensor

_CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAXIMA: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGES: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_WIDEST = 4096  # pixels of padding


@operator("Gemm")
def _gemm(call: Call) -> Value:
    a, b = call.tensor(0), call.tensor(1)
    a = a.t() if call.attrs.get("transA") else a
    weight = b if call.attrs.get("transB") else b.t()
    alpha, beta = call.attrs.get("alpha", 1.0), call.attrs.get("beta", 1.0)
    weight = weight if alpha == 1 else weight * alpha
    if not call.has(2) or beta == 0:
        return F.linear(a, weight)
    bias = call.tensor(2) if beta == 1 else call.tensor(2) * beta
    return F.linear(a, weight, bias) if bias.dim() == 1 and len(bias) == len(weight) else F.linear(a, weight) + bias


@operator("MatMul")
def _matmul(call: Call) -> Value:
    left, right = call.tensor(0), call.tensor(1)
    if call.layout == "none" and isinstance(left, nn.Parameter) and left.dim() == 2:  # W x, where x has got a batch axis before it
        return F.linear(right, left)
    return left @ right


@operator("Einsum")
def _einsum(call: Call) -> Value:
    return torch.einsum(call.attrs.get("equation", ""), *call.tensors())


def _windows(call: Call, x: Tensor, kernel: tuple[int, ...]) -> tuple[Any, Any, Any, list[int]]:
    """Stride, symmetric padding, dilation, and what must be padded before where the two sides differ."""
    count = len(kernel)
    if x.dim() != count + 2:
        raise BadFile(
            f"`{call.op}` over {count} axes of a value of rank {x.dim()}", where=call.where, fix="export the network again"
        )
    stride = tuple(call.attrs.get("strides") or (1,) * count)
    dilation = tuple(call.attrs.get("dilations") or (1,) * count)
    pads = list(call.attrs.get("pads") or (0,) * (2 * count))
    automatic = call.attrs.get("auto_pad", "NOTSET")
    if automatic == "VALID":
        pads = [0] * (2 * count)
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = [-(-int(n) // s) for n, s in zip(x.shape[2:], stride, strict=True)]
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        totals = [max(0, (w - 1) * s + k - int(n)) for w, s, k, n in zip(wanted, stride, spans, x.shape[2:], strict=True)]
        small = [t // 2 for t in totals]
        large = [t - t // 2 for t in totals]
        pads = small + large if automatic == "SAME_UPPER" else large + small
    if len(pads) != 2 * count or min(pads) < 0 or max(pads) > _WIDEST:
        raise BadFile(f"`{call.op}` with padding {pads}", where=call.where, fix="export the network again")
    first, last = pads[:count], pads[count:]
    if first == last:
        return stride, tuple(first), dilation, []
    outside = [p for pair in zip(reversed(first), reversed(last), strict=True) for p in pair]
    return stride, (0,) * count, dilation, outside


@operator("Conv")
def _conv(call: Call) -> Value:
    x, weight = call.tensor(0), call.tensor(1)
    _kernel_fits(call, weight)
    stride, padding, dilation, outside = _windows(call, x, tuple(weight.shape[2:]))
    x = F.pad(x, outside) if outside else x
    bias = call.tensor(2) if call.has(2) else None
    made: Tensor = _CONVOLUTIONS[weight.dim() - 2](x, weight, bias, stride, padding, dilation, call.attrs.get("group", 1))
    return made


@operator("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    """The whole result first; what the padding takes away is cut off, so the two sides may differ."""
    x, weight = call.tensor(0), call.tensor(1)
    count = weight.dim() - 2
    _kernel_fits(call, weight)
    stride, dilation, rest = (
        tuple(call.attrs.get(name) or (default,) * count)
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    whole = [s * (int(n) - 1) + r + k for s, n, r, k in zip(stride, x.shape[2:], rest, spans, strict=True)]
    first, last = _taken(call, x, whole, stride)
    call.fits(whole)
    bias = call.tensor(2) if call.has(2) else None
    group, same = call.attrs.get("group", 1), first == last
    padding = tuple(first) if same else (0,) * count
    made: Tensor = _TRANSPOSED[count](x, weight, bias, stride, padding, rest, group, dilation)
    if not same:
        made = made[(slice(None), slice(None), *(slice(a, n - b) for a, n, b in zip(first, whole, last, strict=True)))]
    return made


def _taken(call: Call, x: Tensor, whole: list[int], stride: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """What the padding takes from the whole result, before and after."""
    automatic, count = call.attrs.get("auto_pad", "NOTSET"), len(whole)
    wanted = call.attrs.get("output_shape")
    if wanted is None and automatic in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = [int(n) * s for n, s in zip(x.shape[2:], stride, strict=True)]
    if wanted is not None:
        totals = [w - n for w, n in zip(whole, wanted[-count:], strict=True)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        first, last = (small, large) if automatic == "SAME_UPPER" else (large, small)
    else:
        pads = [0] * (2 * count) if automatic == "VALID" else list(call.attrs.get("pads") or [0] * (2 * count))
        first, last = pads[:count], pads[count:]
    if len(first) != len(last) or min(*first, *last) < 0:
        raise call.refuse(f"padding {first} and {last}", "a smaller output, or none given")
    return first, last


def _kernel_fits(call: Call, weight: Tensor) -> None:
    named = call.attrs.get("kernel_shape")
    if named is not None and list(named) != list(weight.shape[2:]):
        raise BadFile(f"a kernel of {named} whose weight has {list(weight.shape[2:])}", where=call.where, fix="export it again")


@operator("MaxPool", "AveragePool")
def _pool(call: Call) -> Value:
    x = call.tensor(0)
    kernel = tuple(call.attrs.get("kernel_shape") or ())
    if not 1 <= len(kernel) <= 3:
        raise BadFile(f"`{call.op}` with a kernel of shape {kernel}", where=call.where, fix="export the network again")
    stride, padding, dilation, outside = _windows(call, x, kernel)
    ceil = bool(call.attrs.get("ceil_mode", 0))
    if outside and (ceil or call.op == "MaxPool"):
        raise call.refuse("padding that differs between the two sides", "symmetric pads, or a Pad before a pooling without")
    if call.op == "MaxPool":
        pooled: Tensor = _MAXIMA[len(kernel)](x, kernel, stride, padding, dilation, ceil)
        return pooled
    if any(d != 1 for d in dilation):
        raise call.refuse("a dilated average", "Conv with constant weights")
    how, included = _AVERAGES[len(kernel)], bool(call.attrs.get("count_include_pad", 0))
    if not outside:
        averaged: Tensor = how(x, kernel, stride, padding, ceil, included)
        return averaged
    made: Tensor = how(F.pad(x, outside), kernel, stride)
    inside = torch.ones(1, 1, *(int(n) for n in x.shape[2:]), dtype=x.dtype, device=x.device)
    return made if included else made / how(F.pad(inside, outside), kernel, stride)


@operator("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: Call) -> Value:
    x = call.tensor(0)
    axes = tuple(range(2, x.dim()))
    return x.mean(axes, keepdim=True) if call.op == "GlobalAveragePool" else x.amax(axes, keepdim=True)


@operator("BatchNormalization")
def _batch_norm(call: Call) -> Value:
    x, weight, bias, mean, var = (call.tensor(i) for i in range(5))
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=call.attrs.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(call: Call) -> Value:
    x = call.tensor(0)
    shape = tuple(int(n) for n in x.shape[call.attrs.get("axis", -1) % x.dim() :])
    weight, bias = (call.tensor(i).expand(shape) if call.has(i) else None for i in (1, 2))
    if len(shape) == x.dim():
        raise call.refuse("it takes the batch in", "axes that start at 1")
    return F.layer_norm(x, shape, weight, bias, call.attrs.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_norm(call: Call) -> Value:
    return F.instance_norm(call.tensor(0), weight=call.tensor(1), bias=call.tensor(2), eps=call.attrs.get("epsilon", 1e-5))


@operator("GroupNormalization")
def _group_norm(call: Call) -> Value:
    x, weight, bias = (call.tensor(i) for i in range(3))
    groups, channels = int(call.attrs.get("num_groups", 1)), int(x.shape[1])
    if len(weight) != channels:  # operator set 18: one number a group
        weight, bias = (t.repeat_interleave(channels // groups) for t in (weight, bias))
    return F.group_norm(x, groups, weight, bias, call.attrs.get("epsilon", 1e-5))
