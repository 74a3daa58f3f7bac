"""Operators on numbers of the host: shapes and what is computed from them."""

from __future__ import annotations

import operator as plain_operator
from functools import reduce
from typing import Any

import numpy as np
import torch

from epsball.errors import BadFile
from epsball.graph.onnx.calls import Array, Call, Value, axis_of, on_host, operator

_NUMBERS = 10**6  # shapes and indices are small
_FLOATS = {1: np.float32, 10: np.float32, 11: np.float64, 16: np.float32}
_INTEGERS = {2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_}


def _array(call: Call, index: int) -> Array:
    value = call.inputs[index] if index < len(call.inputs) else None
    if not isinstance(value, np.ndarray):
        raise call.refuse(f"input {index} depends on data, where it is computed on numbers of the file", "constants there")
    return value


def _sized(call: Call, sizes: list[Any]) -> tuple[int, ...]:
    call.fits(sizes)
    shape = tuple(int(n) for n in sizes)
    if int(np.prod(shape, dtype=np.int64)) > _NUMBERS:
        raise BadFile(f"`{call.op}` computes {shape} whole numbers", where=call.where, fix="the file is damaged: export it again")
    return shape


@operator("Shape")
def _shape(call: Call) -> Value:
    x = call.inputs[0]
    sizes = np.empty(0, object) if x is None else _listed(list(x.shape))
    return sizes[slice(call.attrs.get("start", 0), call.attrs.get("end"))]


@operator("Size")
def _size(call: Call) -> Value:
    total: Any = 1
    for n in call.tensor(0).shape:
        total = total * n
    return _listed([total]).reshape(())


def _listed(numbers: list[Any]) -> Array:
    """Sizes as an array of Python objects, so that symbolic ones pass through numpy."""
    made = np.empty(len(numbers), object)
    made[:] = numbers
    return made


@on_host("Shape")
def _host_shape(call: Call) -> Value:
    return _shape(call)


@on_host("Identity")
def _identity(call: Call) -> Value:
    return _array(call, 0)


@on_host("Gather")
def _gather(call: Call) -> Value:
    x, index = _array(call, 0), _array(call, 1).astype(np.int64)
    axis = axis_of(call, call.attrs.get("axis", 0), x.ndim)
    _sized(call, [*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])
    return np.asarray(np.take(x, index, axis=axis), dtype=x.dtype)


@on_host("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    x, axes = _array(call, 0), call.ints(1, "axes") or []
    return np.expand_dims(x, tuple(axes))


@on_host("Squeeze")
def _squeeze(call: Call) -> Value:
    axes = call.ints(1, "axes")
    return np.squeeze(_array(call, 0), None if axes is None else tuple(axes))


@on_host("Concat")
def _concat(call: Call) -> Value:
    parts = [_array(call, i) for i in range(len(call.inputs))]
    _sized(call, [sum(part.size for part in parts)])
    return np.concatenate(parts, axis=call.attrs.get("axis", 0))


@on_host("Slice")
def _slice(call: Call) -> Value:
    x = _array(call, 0)
    starts, ends = call.ints(1, "starts") or [], call.ints(2, "ends") or []
    axes, steps = call.ints(3, "axes") or list(range(len(starts))), call.ints(4) or [1] * len(starts)
    picked: list[slice] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        picked[axis_of(call, axis, x.ndim)] = slice(start, end, step)
    return x[tuple(picked)]


@on_host("Reshape")
def _reshape(call: Call) -> Value:
    x = _array(call, 0)
    sizes = call.ints(1, "shape") or []
    zero = call.attrs.get("allowzero", 0)
    return x.reshape([x.shape[i] if isinstance(n, int) and n == 0 and not zero else n for i, n in enumerate(sizes)])


@on_host("Transpose")
def _transpose(call: Call) -> Value:
    return _array(call, 0).transpose(call.attrs.get("perm"))


@on_host("Cast")
def _cast(call: Call) -> Value:
    x, to = _array(call, 0), call.attrs.get("to")
    if to in _INTEGERS:
        return x if x.dtype == object else x.astype(_INTEGERS[to])
    if to not in _FLOATS:
        raise call.refuse(f"a cast to type {to}", "float32, float64 or whole numbers")
    return x.astype(_FLOATS[to])


_BINARY: dict[str, Any] = {
    "Add": plain_operator.add, "Sub": plain_operator.sub, "Mul": plain_operator.mul, "Pow": plain_operator.pow,
    "Equal": plain_operator.eq, "Greater": plain_operator.gt, "Less": plain_operator.lt, "And": np.logical_and, "Or": np.logical_or,
}  # fmt: skip


@on_host(*_BINARY)
def _binary(call: Call) -> Value:
    x, y = _array(call, 0), _array(call, 1)
    _sized(call, list(np.broadcast_shapes(x.shape, y.shape)))
    made = np.asarray(_BINARY[call.op](x, y))
    return made.astype(x.dtype) if call.op == "Pow" else made  # of the base's type


@on_host("Min", "Max")
def _extreme(call: Call) -> Value:
    parts = [_array(call, i) for i in range(len(call.inputs))]
    _sized(call, list(np.broadcast_shapes(*(part.shape for part in parts))))
    return np.asarray(reduce(np.minimum if call.op == "Min" else np.maximum, parts))


@on_host("Div")
def _div(call: Call) -> Value:
    """Whole numbers are divided as ONNX does: towards zero."""
    x, y = _array(call, 0), _array(call, 1)
    _sized(call, list(np.broadcast_shapes(x.shape, y.shape)))
    return np.asarray(_towards_zero(x, y) if _whole(x) and _whole(y) else x / y)


def _whole(x: Array) -> bool:
    return x.dtype == object or bool(np.issubdtype(x.dtype, np.integer))


def _one_towards_zero(a: Any, b: Any) -> Any:
    """A size that depends on the batch is not negative, and is not compared: that would fix it."""
    symbolic = isinstance(a, torch.SymInt) or isinstance(b, torch.SymInt)
    return a // b if symbolic or (a < 0) == (b < 0) or a % b == 0 else a // b + 1


def _towards_zero(x: Array, y: Array) -> Array:
    made: Any = np.vectorize(_one_towards_zero, otypes=[object])(x.astype(object), y.astype(object))
    return np.asarray(made if x.dtype == object else made.astype(x.dtype))


@on_host("Mod")
def _mod(call: Call) -> Value:
    """With `fmod` the sign is the dividend's, else the divisor's, which floats don't have."""
    x, y, c_like = _array(call, 0), _array(call, 1), bool(call.attrs.get("fmod", 0))
    _sized(call, list(np.broadcast_shapes(x.shape, y.shape)))
    if not c_like and not (_whole(x) and _whole(y)):
        raise call.refuse("floats without fmod = 1", "fmod = 1")
    return np.asarray(x - y * _towards_zero(x, y) if c_like and x.dtype == object else np.fmod(x, y) if c_like else x % y)


_UNARY: dict[str, Any] = {
    "Neg": np.negative, "Not": np.logical_not, "Floor": np.floor, "Ceil": np.ceil, "Sqrt": np.sqrt, "Abs": np.abs, "Exp": np.exp,
    "Reciprocal": lambda x: 1 / x, "Log": np.log,
}  # fmt: skip


@on_host(*_UNARY)
def _unary(call: Call) -> Value:
    return np.asarray(_UNARY[call.op](_array(call, 0)))


@on_host("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(call: Call) -> Value:
    how: Any = {"ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}[call.op]
    axes = call.ints(1, "axes")
    x, kept = _array(call, 0), bool(call.attrs.get("keepdims", 1))
    if not axes and call.attrs.get("noop_with_empty_axes", 0):
        return x
    return np.asarray(how(x, axis=tuple(axes) if axes else None, keepdims=kept), dtype=x.dtype)


@on_host("Where")
def _where(call: Call) -> Value:
    condition, x, y = (_array(call, i) for i in range(3))
    _sized(call, list(np.broadcast_shapes(condition.shape, x.shape, y.shape)))
    return np.where(condition.astype(bool), x, y)


@on_host("Range")
def _range(call: Call) -> Value:
    start, stop, step = (call.number(i, 1) for i in range(3))
    if step == 0:
        raise BadFile("`Range` with steps of 0", where=call.where, fix="export the network again")
    _sized(call, [max(0, int((stop - start) / step) + 1)])
    return np.arange(start, stop, step, dtype=_array(call, 0).dtype if _array(call, 0).dtype != object else np.int64)


@on_host("Expand")
def _expand(call: Call) -> Value:
    x, sizes = _array(call, 0), call.ints(1) or []
    return np.broadcast_to(x, _sized(call, list(np.broadcast_shapes(x.shape, tuple(int(n) for n in sizes)))))


@on_host("Tile")
def _tile(call: Call) -> Value:
    x, times = _array(call, 0), call.ints(1) or []
    _sized(call, [a * b for a, b in zip(x.shape, times, strict=True)])
    return np.tile(x, times)


@on_host("ConstantOfShape")
def _constant_of_shape(call: Call) -> Value:
    """Floats become a tensor, which may be as long as the batch; whole numbers stay here."""
    sizes = call.ints(0) or []
    value = np.asarray(call.attrs.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    if isinstance(value, np.floating):
        call.fits(sizes)
        return torch.full(tuple(sizes), float(value), dtype=torch.float64 if value.dtype == np.float64 else torch.float32)
    return np.full(_sized(call, sizes), value)
