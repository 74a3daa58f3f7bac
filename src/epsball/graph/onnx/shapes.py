"""Operators that move, repeat and pick elements, and reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from epsball.errors import BadFile
from epsball.graph.onnx.calls import Call, Value, axis_of, operator, plain
from epsball.types import Tensor

_LAST = 2**31 - 1


@operator("Reshape")
def _reshape(call: Call) -> Value:
    x, sizes = call.tensor(0), call.ints(1, "shape") or []
    if not call.attrs.get("allowzero", 0):
        sizes = [x.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(_for_batch(call, sizes))


def _for_batch(call: Call, sizes: list[Any]) -> list[Any]:
    """Where the file declares a batch of 1, a leading 1 is the batch."""
    first = sizes[0] if sizes else None
    return [call.batch, *sizes[1:]] if call.layout == "one" and isinstance(first, int) and first == 1 else sizes


@operator("Flatten")
def _flatten(call: Call) -> Value:
    x, axis = call.tensor(0), call.attrs.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis_of(call, axis, x.dim() + 1)
    if axis == 0 and call.layout != "one":
        raise call.refuse("axis 0 takes the batch in", "axis 1")
    if axis <= 1:  # at axis 0 the file's leading 1 stands for the batch
        return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
    before = x.flatten(0, axis - 1)
    return before.flatten(1) if axis < x.dim() else before.unsqueeze(1)


@operator("Transpose")
def _transpose(call: Call) -> Value:
    x = call.tensor(0)
    return x.permute(call.attrs.get("perm", tuple(reversed(range(x.dim())))))


@operator("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    x, axes = call.tensor(0), call.ints(1, "axes") or []
    rank = x.dim() + len(axes)
    for axis in sorted(axis_of(call, a, rank) for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Squeeze")
def _squeeze(call: Call) -> Value:
    x, axes = call.tensor(0), call.ints(1, "axes")
    if axes is None:
        axes = [i for i, n in enumerate(x.shape) if i and n == 1]
    found = [axis_of(call, a, x.dim()) for a in axes]
    # the batch stays, also where the file's one sample loses its axis
    return x.squeeze(tuple(a for a in found if a or call.layout != "one"))


@operator("Concat")
def _concat(call: Call) -> Value:
    parts = call.tensors()
    axis = axis_of(call, call.attrs.get("axis", 0), parts[0].dim())
    if call.layout == "one" and axis != 0:  # a class token, say, is stored for the one sample of the file
        parts = [p.expand(call.batch, *p.shape[1:]) if isinstance(p.shape[0], int) and p.shape[0] == 1 else p for p in parts]
    return torch.cat(parts, axis)


@operator("Slice")
def _slice(call: Call) -> Value:
    x = call.tensor(0)
    starts, ends = call.ints(1, "starts") or [], call.ints(2, "ends") or []
    axes, steps = call.ints(3, "axes") or list(range(len(starts))), call.ints(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(call, axis, x.dim())  # noqa: PLW2901 - the same axis, counted from the front
        if start == 0 and end >= _LAST and step == 1:
            continue
        if step < 0:
            first, last, _ = slice(start, end, step).indices(int(x.shape[axis]))
            x = x.index_select(axis, torch.arange(first, min(first, last), step, dtype=torch.long, device=x.device))
        else:
            x = x[(slice(None),) * axis + (slice(max(start, -_LAST), max(-_LAST, min(end, _LAST)), step),)]
    return x


@operator("Gather")
def _gather(call: Call) -> Value:
    x, index = call.tensor(0), call.inputs[1]
    if not isinstance(index, np.ndarray):
        raise call.refuse(
            "the indices are the network's input: tokens have no ball", "the embedded words as the input: see docs/how-to/text.md"
        )
    axis = axis_of(call, call.attrs.get("axis", 0), x.dim())
    index = plain(index, call).astype(np.int64)
    index = np.where(index < 0, index + int(x.shape[axis]), index) if axis or (index < 0).any() else index
    if index.ndim == 0:
        return x.select(axis, int(index))
    picked = x.index_select(axis, torch.from_numpy(index.reshape(-1)).to(x.device))
    return picked if index.ndim == 1 else picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@operator("Split")
def _split(call: Call) -> list[Value]:
    x = call.tensor(0)
    axis, sizes = axis_of(call, call.attrs.get("axis", 0), x.dim()), call.ints(1, "split")
    if sizes is None:
        whole, count = int(x.shape[axis]), int(call.attrs.get("num_outputs", call.outputs))
        each = -(-whole // count)
        sizes = [min(each, whole - i * each) for i in range(count)]
    return list(torch.split(x, sizes, axis))


@operator("Expand")
def _expand(call: Call) -> Value:
    x, sizes = call.tensor(0), call.ints(1) or []
    x = x.reshape((1,) * (len(sizes) - x.dim()) + tuple(x.shape))
    sizes = [1] * (x.dim() - len(sizes)) + sizes
    wanted = [s if isinstance(n, int) and n == 1 else n for n, s in zip(x.shape, sizes, strict=True)]
    call.fits(wanted)
    return x.expand(wanted)


@operator("Tile")
def _tile(call: Call) -> Value:
    x, times = call.tensor(0), call.ints(1) or []
    if times[0] != 1:
        raise call.refuse("it repeats the batch", "a repeat of 1 there")
    call.fits([n * t for n, t in zip(x.shape[1:], times[1:], strict=True)])
    return x.repeat(times)


@operator("Pad")
def _pad(call: Call) -> Value:
    x, pads = call.tensor(0), call.ints(1, "pads") or []
    axes = [axis_of(call, a, x.dim()) for a in (call.ints(3) or [])] if call.has(3) else list(range(x.dim()))
    if len(pads) != 2 * len(axes):
        raise BadFile(f"`Pad` with {len(pads)} numbers for {len(axes)} axes", where=call.where, fix="export the network again")
    sides = {a: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes) if pads[i] or pads[i + len(axes)]}
    if 0 in sides:
        raise call.refuse("it pads the batch axis", "no padding there")
    call.fits([int(n) + sum(sides.get(i, (0, 0))) for i, n in enumerate(x.shape[1:], 1)])
    mode = call.attrs.get("mode", "constant")
    if mode == "constant":
        value = call.attrs["value"] if "value" in call.attrs else call.number(2, 0.0)
        listed = [p for i in reversed(range(min(sides, default=x.dim()), x.dim())) for p in sides.get(i, (0, 0))]
        return F.pad(x, listed, value=value) if listed else x
    for axis, (before, after) in sides.items():
        n = int(x.shape[axis])
        longer = np.pad(np.arange(n), (max(before, 0), max(after, 0)), mode=mode)
        picked = longer[max(-before, 0) : len(longer) - max(-after, 0)]
        x = x.index_select(axis, torch.from_numpy(picked).to(x.device))
    return x


@operator("DepthToSpace", "SpaceToDepth")
def _depth_to_space(call: Call) -> Value:
    x, size = call.tensor(0), int(call.attrs.get("blocksize", 1))
    _, c, h, w = (int(n) if i else n for i, n in enumerate(x.shape))
    if call.op == "SpaceToDepth":
        return x.reshape(-1, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    if call.attrs.get("mode", "DCR") == "CRD":
        shuffled: Tensor = F.pixel_shuffle(x, size)
        return shuffled
    return x.reshape(-1, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


@operator("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp")
def _reduce(call: Call) -> Value:
    x, axes = call.tensor(0), call.ints(1, "axes")
    if not axes and call.attrs.get("noop_with_empty_axes", 0):
        return x.square() if call.op == "ReduceSumSquare" else x.abs() if call.op == "ReduceL2" else x
    dims = tuple(axis_of(call, a, x.dim()) for a in (axes or range(x.dim())))
    if 0 in dims:
        raise call.refuse("it reduces the batch axis", "axes that start at 1")
    kept = bool(call.attrs.get("keepdims", 1))
    made: Tensor = _REDUCTIONS[call.op](x, dims, kept)
    return made


_REDUCTIONS: dict[str, Any] = {
    "ReduceMean": lambda x, dims, kept: x.mean(dims, keepdim=kept),
    "ReduceSum": lambda x, dims, kept: x.sum(dims, keepdim=kept),
    "ReduceMax": lambda x, dims, kept: x.amax(dims, keepdim=kept),
    "ReduceMin": lambda x, dims, kept: x.amin(dims, keepdim=kept),
    "ReduceSumSquare": lambda x, dims, kept: x.square().sum(dims, keepdim=kept),
    "ReduceL2": lambda x, dims, kept: x.square().sum(dims, keepdim=kept).sqrt(),
    "ReduceLogSumExp": lambda x, dims, kept: torch.logsumexp(x, dims, keepdim=kept),
}
