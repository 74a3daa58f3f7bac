"""Resize and Upsample: along each axis a choice of elements, or a product with a constant matrix."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from epsball.errors import BadFile
from epsball.graph.onnx.calls import Array, Call, Value, axis_of, operator
from epsball.types import Tensor

_F = np.float32  # coordinates decide which pixel is nearest: computed as the runtimes do


@operator("Resize", "Upsample")
def _resize(call: Call) -> Value:
    x, mode = call.tensor(0), call.attrs.get("mode", "nearest")
    wanted = _targets(call, x)
    call.fits([size for axis, (size, _) in wanted.items() if axis])
    for axis, (size, scale) in wanted.items():
        n = int(x.shape[axis]) if axis else 1
        if axis == 0 and (size != 1 or scale != 1):
            raise call.refuse("it resizes the batch axis", "factor 1 there")
        if axis == 0 or (size == n and scale == 1):
            continue
        places = _places(call, size, n, scale)
        if mode == "nearest":
            x = x.index_select(axis, torch.from_numpy(_nearest(call, places, n)).to(x.device))
            continue
        matrix = torch.from_numpy(_linear(places, n) if mode == "linear" else _cubic(call, places, n)).to(x.device, x.dtype)
        x = F.linear(x.movedim(axis, -1), matrix).movedim(-1, axis)
    return x


def _targets(call: Call, x: Tensor) -> dict[int, tuple[int, float]]:
    """For each axis its new size and its factor."""
    old = call.op == "Upsample" or call.opset < 11
    place = 1 if old else 2
    axes = [axis_of(call, a, x.dim()) for a in call.attrs.get("axes", range(x.dim()))]
    sizes = None if old else call.ints(3)
    if sizes:
        if len(sizes) != len(axes):
            raise BadFile(f"`{call.op}` with {len(sizes)} sizes", where=call.where, fix="export the network again")
        return {a: (int(m), float(_F(m) / _F(int(x.shape[a])))) for a, m in zip(axes, sizes, strict=True) if a}
    scales = call.numbers(place) if call.has(place) else tuple(call.attrs.get("scales", ()))
    if len(scales) != len(axes):
        raise call.refuse("scales that are not constant", "constant scales")
    if min(scales) <= 0 or (old and min(scales) < 1):
        raise call.refuse(f"factors {scales}", "factors of at least 1, or operator set 11")
    made = {a: (int(np.floor(_F(int(x.shape[a])) * _F(s))), float(s)) for a, s in zip(axes, scales, strict=True) if a}
    return made | {a: (int(s == 1), float(s)) for a, s in zip(axes, scales, strict=True) if not a}


def _places(call: Call, size: int, n: int, scale: float) -> Array:
    """Where each new element lies on the old axis. Before operator set 11 there was one way."""
    how = call.attrs.get("coordinate_transformation_mode", "asymmetric")
    x, s, half = np.arange(size, dtype=_F), _F(scale), _F(0.5)
    if how == "asymmetric":
        return np.asarray(x / s)
    if how == "align_corners":
        return np.asarray(x * _F(n - 1) / _F(size - 1) if size > 1 else np.zeros(size, _F))
    if how == "pytorch_half_pixel" and size == 1:
        return np.zeros(1, _F)
    shift = _F(n / 2) * (1 - _F(size) / (s * _F(n))) if how == "half_pixel_symmetric" else _F(0)
    return np.asarray(shift + (x + half) / s - half)


def _nearest(call: Call, places: Array, n: int) -> Array:
    how = call.attrs.get("nearest_mode", "floor")
    picked = {
        "floor": np.floor(places),
        "ceil": np.ceil(places),
        "round_prefer_floor": np.ceil(places - _F(0.5)),
        "round_prefer_ceil": np.floor(places + _F(0.5)),
    }[how]
    return np.clip(picked, 0, n - 1).astype(np.int64)


def _linear(places: Array, n: int) -> Array:
    at = np.clip(places, 0, n - 1)
    first = np.floor(at).astype(np.int64)
    return _matrix([first, np.minimum(first + 1, n - 1)], [1 - (at - first), at - first], n)


def _cubic(call: Call, places: Array, n: int) -> Array:
    """Keys' kernel with the coefficient that the file gives."""
    a, first = float(call.attrs["cubic_coeff_a"]), np.floor(places)
    away = [np.abs(places.astype(float) - (first + k)) for k in (-1, 0, 1, 2)]
    near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in away[1:3]]
    far = [a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a for d in (away[0], away[3])]
    weights, index = [far[0], *near, far[1]], [first.astype(np.int64) + k for k in (-1, 0, 1, 2)]
    if call.attrs.get("exclude_outside", 0):
        weights = [np.where((i >= 0) & (i < n), w, 0) for i, w in zip(index, weights, strict=True)]
        total = sum(weights)
        weights = [w / total for w in weights]
    return _matrix([np.clip(i, 0, n - 1) for i in index], weights, n)


def _matrix(index: list[Array], weights: list[Array], n: int) -> Array:
    made = np.zeros((len(index[0]), n))
    for i, w in zip(index, weights, strict=True):
        np.add.at(made, (np.arange(len(i)), i), w)
    return made
