"""Pooling in one, two and three dimensions."""

from __future__ import annotations

import math
from itertools import product

import torch

from epsball.graph.builder import Arguments, Builder, converts, spread
from epsball.graph.graph import Node


@converts("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(b: Builder, a: Arguments) -> Node:
    axes = int(str(a["__op__"])[-2])
    kernel = spread(a["kernel_size"], axes)
    return b.emit(
        f"avg_pool{axes}d",
        (a["self"],),
        b.result,
        kernel=kernel,
        stride=spread(a.get("stride") or kernel, axes),
        padding=spread(a.get("padding", 0), axes),
        ceil=bool(a.get("ceil_mode", False)),
        include_pad=bool(a.get("count_include_pad", True)),
        divisor=a.get("divisor_override"),
    )


@converts(
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool3d",
)  # fmt: skip
def _adaptive_avg_pool(b: Builder, a: Arguments) -> Node:
    name = str(a["__op__"]).removeprefix("_")
    return b.emit(name, (a["self"],), b.result, size=b.result[-int(name[-2]) :])


@converts("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
def _interpolate(b: Builder, a: Arguments) -> Node:
    mode = str(a["__op__"]).removeprefix("upsample_")[:-2]
    x: Node = a["input"] if "input" in a else a["self"]
    scales = a.get("scale_factors")
    return b.emit(
        "interpolate",
        (x,),
        b.result,
        mode=mode,
        size=None if scales else b.result[1:],
        scales=tuple(scales) if scales else None,
        corners=bool(a["align_corners"]),
    )


@converts("max_pool2d", "max_pool2d_with_indices", "max_pool1d", "max_pool1d_with_indices")
def _max_pool(b: Builder, a: Arguments) -> Node:
    """In one dimension: in two, over a height of one."""
    axes = 2 if "2d" in str(a["__op__"]) else 1
    kernel = spread(a["kernel_size"], axes)
    settings = {
        "kernel": kernel,
        "stride": spread(a.get("stride") or kernel, axes),
        "padding": spread(a.get("padding", 0), axes),
        "dilation": spread(a.get("dilation", 1), axes),
    }
    x: Node = a["self"]
    ceil = bool(a.get("ceil_mode", False))
    if axes == 2:
        return b.emit("max_pool2d", (x,), b.result, ceil=ceil, **settings)
    flat = {key: (0 if key == "padding" else 1, *value) for key, value in settings.items()}
    shape = (x.shape[0], 1, x.shape[1])
    pooled = b.emit("max_pool2d", (b.reshape(x, shape),), (b.result[0], 1, b.result[1]), ceil=ceil, **flat)
    return b.reshape(pooled, b.result)


@converts("max_pool3d", "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _max_by_windows(b: Builder, a: Arguments) -> Node:
    """Windows are gathered one element at a time, (C, windows, k), and pooled in two dimensions over their last axis."""
    x: Node = a["self"]
    spans = _adaptive(x.shape[1:], b.result[1:]) if "adaptive" in str(a["__op__"]) else _sliding(b, a, x)
    longest = math.prod(max(len(span) for span in axis) for axis in spans)
    place = torch.arange(math.prod(x.shape[1:])).view(x.shape[1:])
    rows = []
    for window in product(*spans):
        inside = place
        for axis, span in enumerate(window):
            inside = inside.index_select(axis, torch.tensor(span, dtype=torch.long))
        flat = inside.flatten()
        rows.append(torch.cat((flat, flat[:1].expand(longest - len(flat)))))  # an element twice changes no maximum
    index = torch.stack(rows)[None] + (torch.arange(x.shape[0]) * place.numel())[:, None, None]
    pooled = b.emit(
        "max_pool2d",
        (b.take(x, index),),
        (x.shape[0], index.shape[1], 1),
        ceil=False,
        kernel=(1, longest),
        stride=(1, longest),
        padding=(0, 0),
        dilation=(1, 1),
    )
    return b.reshape(pooled, b.result)


def _adaptive(before: tuple[int, ...], after: tuple[int, ...]) -> list[list[range]]:
    return [[range(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(before, after, strict=True)]


def _sliding(b: Builder, a: Arguments, x: Node) -> list[list[range]]:
    kernel = spread(a["kernel_size"], 3)
    stride, padding = spread(a.get("stride") or kernel, 3), spread(a.get("padding", 0), 3)
    spans = []
    for n, m, k, s, p, d in zip(x.shape[1:], b.result[1:], kernel, stride, padding, spread(a.get("dilation", 1), 3), strict=True):
        starts = [i * s - p for i in range(m)]
        spans.append([range(start + d * max(0, -(start // d)), min(n, start + d * k), d) for start in starts])
    return spans
