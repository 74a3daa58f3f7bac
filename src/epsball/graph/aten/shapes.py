"""Operators that move, repeat and pick elements, and reductions."""

from __future__ import annotations

import math

import torch

from epsball.errors import BadCapture
from epsball.graph.builder import TABLE, Arguments, Builder, converts
from epsball.graph.graph import Node


@converts(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as", "reshape_as", "_reshape_copy"
)
def _reshape(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if math.prod(x.shape) != math.prod(b.result):
        raise BadCapture("a reshape moves the batch axis", where=str(b.at), fix="keep axis 0 as the batch")
    return x if x.shape == b.result else b.emit("reshape", (x,), b.result)


@converts("permute", "transpose", "t", "swapaxes", "movedim", "numpy_T")
def _permute(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    rank = len(x.shape)
    order = list(range(rank))
    if "dims" in a:
        order = [b.axis(d, rank) if i else 0 for i, d in enumerate(a["dims"])][1:]
        if a["dims"][0] % (rank + 1) != 0:
            b.axis(0, rank)
    else:
        i, j = b.axis(a["dim0"], rank), b.axis(a["dim1"], rank)
        order[i], order[j] = order[j], order[i]
    return b.emit("permute", (x,), b.result, dims=tuple(order))


@converts("cat", "concat", "concatenate")
def _cat(b: Builder, a: Arguments) -> Node:
    rank = len(b.result)
    dim = b.axis(a.get("dim", 0), rank)
    return b.emit("cat", tuple(_part(b, p, rank) for p in a["tensors"]), b.result, dim=dim)


def _part(b: Builder, part: Node, rank: int) -> Node:
    """A part of a cat or stack; a constant one without its batch axis, which torch asks for there."""
    return part if part.varies else b.per_sample(part, rank)


@converts("stack")
def _stack(b: Builder, a: Arguments) -> Node:
    rank = len(b.result)
    dim = b.axis(a.get("dim", 0), rank)
    wide = []
    for given in a["tensors"]:
        part = _part(b, given, rank - 1)
        shape = (*part.shape[:dim], 1, *part.shape[dim:])
        wide.append(b.reshape(part, shape) if part.varies else b.fixed(torch.reshape, part, shape))
    return b.emit("cat", tuple(wide), b.result, dim=dim)


@converts("slice", "narrow")
def _slice(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if "length" in a:
        start, stop, step = a["start"], a["start"] + a["length"], 1
    else:
        start, stop, step = a.get("start") or 0, a.get("end"), a.get("step", 1)
    stop = 2**63 - 1 if stop is None else stop
    if x.shape == b.result and start == 0 and step == 1:
        return x
    dim = b.axis(a.get("dim", 0), len(x.shape))
    begin, end, step = slice(start, stop, step).indices(x.shape[dim])
    return b.emit("slice", (x,), b.result, dim=dim, start=begin, stop=end, step=step)


@converts("select")
def _select(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    return b.select(x, b.axis(a["dim"], len(x.shape)), a["index"])


@converts("split", "split_with_sizes", "chunk", "unbind", "tensor_split")
def _split(b: Builder, a: Arguments) -> list[Node]:
    x: Node = a["self"]
    axis = b.axis(int(a.get("dim", 0)), len(x.shape))
    if a["__op__"] == "unbind":
        return [b.select(x, axis, i) for i in range(x.shape[axis])]
    parts, start = [], 0
    for shape in a["__shapes__"]:
        parts.append(b.slice(x, axis, start, start + shape[axis]))
        start += shape[axis]
    return parts


@converts("expand")
def _expand(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if len(x.shape) != len(b.result):
        raise BadCapture("an expand adds an axis before the batch", where=str(b.at), fix="use unsqueeze(1) first")
    return x if x.shape == b.result else b.emit("expand", (x,), b.result)


@converts("pad", "constant_pad_nd")
def _pad(b: Builder, a: Arguments) -> Node:
    if a.get("mode", "constant") != "constant":
        return _moved(b, a)
    pads = tuple(a["pad"])
    if len(pads) > 2 * len(b.result):
        b.axis(0, len(b.result))
    return b.emit("pad", (a["self"],), b.result, pads=pads, value=float(a.get("value") or 0.0))


@converts("sum", "mean")
def _reduce(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    dims = a.get("dim")
    if dims is None or dims == []:  # no axes are all axes, the batch among them
        b.axis(0, len(x.shape))
    listed: list[int] = list(dims) if isinstance(dims, (list, tuple)) else [int(dims or 0)]
    dims = tuple(sorted(b.axis(d, len(x.shape)) for d in listed))
    return b.emit(str(a["__op__"]), (x,), b.result, dims=dims, keepdim=bool(a.get("keepdim", False)))


@converts("var", "std")
def _var(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    listed = a.get("dim")
    if listed is None:
        b.axis(0, len(x.shape))
    given: list[int] = list(listed) if isinstance(listed, (list, tuple)) else [int(listed or 0)]
    axes = tuple(sorted(b.axis(d, len(x.shape)) for d in given))
    unbiased, correction = a.get("unbiased", True), a.get("correction")
    lost = int(unbiased) if correction is None else correction
    moved = b.binary("sub", x, b.expand(b.reduce("mean", x, axes), x.shape))
    total = b.reduce("sum", b.unary("square", moved), axes, keepdim=bool(a.get("keepdim", False)))
    var = b.binary("mul", total, 1 / (math.prod(x.shape[i] for i in axes) - lost))
    return b.unary("sqrt", var) if a["__op__"] == "std" else var


@converts("linalg_vector_norm", "norm")
def _norm(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"] if "self" in a else a["x"]
    order, listed = a.get("ord", a.get("p", 2)), a.get("dim")
    if listed is None:
        b.axis(0, len(x.shape))
    given: list[int] = list(listed) if isinstance(listed, (list, tuple)) else [int(listed or 0)]
    axes = tuple(sorted(b.axis(d, len(x.shape)) for d in given))
    keepdim = bool(a.get("keepdim", False))
    if order == 1:
        return b.reduce("sum", b.unary("abs", x), axes, keepdim=keepdim)
    if order != 2:
        raise b.refuse(f"a norm of order {order} has no bounds", "order 1 or 2")
    return b.unary("sqrt", b.reduce("sum", b.unary("square", x), axes, keepdim=keepdim))


@converts("amax", "max", "amin", "min")
def _extreme(b: Builder, a: Arguments) -> Node | list[Node]:
    """A tree of pairwise maxima; the positions of a maximum have no bounds."""
    x: Node = a["self"]
    name = str(a["__op__"])
    if "other" in a:
        return TABLE["maximum" if name == "max" else "minimum"](b, {**a, "__op__": "maximum" if name == "max" else "minimum"})
    listed = a.get("dim")
    if listed is None or listed == []:
        b.axis(0, len(x.shape))
    given: list[int] = list(listed) if isinstance(listed, (list, tuple)) else [int(listed or 0)]
    for axis in sorted(b.axis(d, len(x.shape)) for d in given):
        while x.shape[axis] > 1:
            half, size = x.shape[axis] // 2, x.shape[axis]
            first, second = b.slice(x, axis, 0, half), b.slice(x, axis, half, 2 * half)
            high = b.unary("relu", b.binary("sub", first, second) if "max" in name else b.binary("sub", second, first))
            top = b.binary("add" if "max" in name else "sub", second, high)
            shape = (*x.shape[:axis], half + size % 2, *x.shape[axis + 1 :])
            x = b.emit("cat", (top, b.slice(x, axis, size - 1, size)), shape, dim=axis) if size % 2 else top
    return b.reshape(x, b.result)


@converts("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
def _filled(b: Builder, a: Arguments) -> Node:
    """A constant of a varying node's shape: the same for every sample."""
    name = str(a["__op__"])
    value = a["fill_value"] if "full" in name else float("ones" in name)
    return b.fixed(torch.Tensor.expand, b.operand(value), (1, *b.result))


@converts(
    "flip", "roll", "repeat", "tile", "repeat_interleave", "index_select", "gather", "index", "take_along_dim", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "im2col", "unfold", "diagonal", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "rot90",
)  # fmt: skip
def _moved(b: Builder, a: Arguments) -> Node:
    """Any movement of data: where each element comes from is read off a sample that holds its own indices."""
    x: Node = a["self"] if "self" in a else a["input"]
    numbers = torch.arange(math.prod(x.shape), dtype=torch.float64).view(1, *x.shape)
    moved = a["__probe__"](x, numbers)
    if moved.shape[1:] != b.result or len(moved) != 1:
        raise BadCapture("an operation moves the batch axis", where=str(b.at), fix="keep axis 0 as the batch")
    return b.take(x, moved[0].long())
