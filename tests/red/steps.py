"""Operators of random programs, in plain torch: each draws its own numbers and says for which ranks it is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Make = Callable[[np.random.Generator, tuple[Tensor, ...]], nn.Module]


class Do(nn.Module):
    """A function with parameters of its own."""

    def __init__(self, function: Callable[..., Tensor], *weights: Tensor) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(w) for w in weights])

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*values, *self.weights)


@dataclass(frozen=True)
class Kind:
    """An operator: how many values it takes, the ranks it is meant for (without the batch), and how often it is drawn."""

    make: Make
    arity: int = 1
    ranks: tuple[int, ...] = (0, 1, 2, 3)
    weight: float = 1.0


def fixed(function: Callable[..., Tensor]) -> Make:
    def make(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
        return Do(function)

    return make


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0, like: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(rng.normal(0, scale, shape))).to(like.dtype)


def sizes(values: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(values[0].shape[1:])


def _linear(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
    n, m, like = values[0].shape[-1], int(rng.integers(1, 6)), values[0]
    return Do(F.linear, normal(rng, m, n, scale=1.3 / n**0.5, like=like), normal(rng, m, scale=0.5, like=like))


def _conv(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
    spatial, channels, out = values[0].dim() - 2, values[0].shape[1], int(rng.integers(1, 4))
    weight = normal(rng, out, channels, *[2] * spatial, scale=0.6, like=values[0])
    bias, pad = normal(rng, out, scale=0.3, like=values[0]), int(rng.integers(1, 2))
    call = F.conv1d if spatial == 1 else F.conv2d
    return Do(lambda h, w, b: call(h, w, b, padding=pad), weight, bias)


def _scale(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
    weight = normal(rng, *sizes(values), like=values[0])
    return Do(lambda h, w, b: h * w + b, weight, normal(rng, *sizes(values), scale=0.4, like=values[0]))


def _norm(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
    n = values[0].shape[-1]
    return Do(lambda h, w: F.layer_norm(h, (n,), w, None, 1e-2), normal(rng, n, like=values[0]))


def _picked(function: Callable[[Tensor, int, int], Tensor]) -> Make:
    """A function of a value, an axis (batch included) and an index in it."""

    def make(rng: np.random.Generator, values: tuple[Tensor, ...]) -> nn.Module:
        axis = int(rng.integers(1, values[0].dim()))
        index = int(rng.integers(0, values[0].shape[axis]))
        back = axis - values[0].dim() if rng.random() < 0.5 else axis
        return Do(lambda h: function(h, back, index))

    return make


def _along(function: Callable[[Tensor, int], Tensor]) -> Make:
    """A function of a value and an axis."""
    return _picked(lambda h, axis, _: function(h, axis))


def _inplace(function: Callable[[Tensor], object]) -> Make:
    def call(h: Tensor) -> Tensor:
        own = h * 1.0
        function(own)
        return own

    return fixed(call)


def _set_first(h: Tensor) -> None:
    h[:, 0] = h[:, -1] * 0.5


def _cast(through: torch.dtype) -> Make:
    return fixed(lambda h: h.to(through).to(h.dtype))


def _fit(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Two values made to broadcast: flat, and cut to the shorter, unless they do already."""
    if left.shape[1:] == right.shape[1:] or left.dim() == 1 == right.dim():
        return left, right
    a, b = left.reshape(left.shape[0], -1), right.reshape(right.shape[0], -1)
    n = min(a.shape[1], b.shape[1])
    return (a, b) if n == 1 else (a[:, :n], b[:, :n])


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Make:
    return fixed(lambda a, b: function(*_fit(a, b)))


def _flat(h: Tensor) -> Tensor:
    return h.reshape(h.shape[0], -1)


NONLINEAR: dict[str, Kind] = {
    name: Kind(fixed(function), weight=weight)
    for name, function, weight in [
        ("relu", torch.relu, 6.0),
        ("tanh", torch.tanh, 3.0),
        ("sigmoid", torch.sigmoid, 2.0),
        ("abs", torch.abs, 1.5),
        ("leaky_relu", lambda h: F.leaky_relu(h, 0.2), 1.0),
        ("elu", F.elu, 0.7),
        ("gelu", F.gelu, 0.7),
        ("gelu_tanh", lambda h: F.gelu(h, approximate="tanh"), 0.5),
        ("silu", F.silu, 0.7),
        ("softplus", F.softplus, 0.7),
        ("sin", torch.sin, 0.7),
        ("cos", torch.cos, 0.7),
        ("exp", lambda h: torch.exp(0.4 * h), 0.7),
        ("square", torch.square, 1.0),
        ("cube", lambda h: (0.5 * h) ** 3, 0.5),
        ("clamp", lambda h: h.clamp(-0.6, 0.7), 1.0),
        ("hardswish", F.hardswish, 0.5),
        ("mish", F.mish, 0.5),
        ("erf", torch.erf, 0.5),
        ("atan", torch.atan, 0.5),
        ("sqrt", lambda h: torch.sqrt(h.abs() + 0.2), 0.5),
        ("rsqrt", lambda h: torch.rsqrt(h * h + 0.3), 0.5),
        ("reciprocal", lambda h: torch.reciprocal(1.0 + h * h), 0.5),
        ("log", lambda h: torch.log(1.0 + h * h), 0.5),
        ("log_sigmoid", F.logsigmoid, 0.4),
        ("relu6", lambda h: F.relu6(4 * h), 0.3),
        ("hardtanh", F.hardtanh, 0.3),
        ("softsign", F.softsign, 0.2),
        ("hardsigmoid", F.hardsigmoid, 0.2),
        ("sign", torch.sign, 0.2),
        ("round", torch.round, 0.1),
        ("where", lambda h: torch.where(h > 0.1, h, 0.2 * h), 0.2),
    ]
}
SHAPING: dict[str, Kind] = {
    "linear": Kind(_linear, ranks=(1, 2, 3), weight=8),
    "conv": Kind(_conv, ranks=(2, 3), weight=2),
    "scale_shift": Kind(_scale, weight=3),
    "layer_norm": Kind(_norm, ranks=(1, 2), weight=0.4),
    "softmax": Kind(fixed(lambda h: h.softmax(-1)), ranks=(1, 2), weight=0.7),
    "logsumexp": Kind(fixed(lambda h: h.logsumexp(-1)), ranks=(1, 2), weight=0.4),
    "select": Kind(_picked(lambda h, axis, i: h.select(axis, i)), ranks=(1, 2, 3), weight=4),
    "index": Kind(fixed(lambda h: h[..., -1]), ranks=(1, 2, 3), weight=1),
    "narrow": Kind(_picked(lambda h, axis, i: h.narrow(axis, i, 1)), ranks=(1, 2, 3)),
    "sum": Kind(_along(lambda h, axis: h.sum(axis)), ranks=(1, 2, 3), weight=2),
    "sum_kept": Kind(_along(lambda h, axis: h.sum(axis, keepdim=True)), ranks=(1, 2, 3)),
    "mean": Kind(_along(lambda h, axis: h.mean(axis)), ranks=(1, 2, 3), weight=2),
    "amax": Kind(_along(lambda h, axis: h.amax(axis)), ranks=(1, 2, 3), weight=0.7),
    "max_values": Kind(_along(lambda h, axis: h.max(axis).values), ranks=(1, 2), weight=0.5),
    "amin": Kind(_along(lambda h, axis: h.amin(axis)), ranks=(1, 2, 3), weight=0.4),
    "flip": Kind(_along(lambda h, axis: h.flip(axis)), ranks=(1, 2, 3), weight=0.5),
    "roll": Kind(_along(lambda h, axis: h.roll(1, axis)), ranks=(1, 2, 3), weight=0.3),
    "cumsum": Kind(_along(lambda h, axis: h.cumsum(axis)), ranks=(1, 2), weight=0.2),
    "transpose": Kind(_along(lambda h, axis: h.transpose(1, axis)), ranks=(2, 3)),
    "unsqueeze": Kind(fixed(lambda h: h.unsqueeze(1)), ranks=(0, 1), weight=1.5),
    "flatten": Kind(fixed(lambda h: h.flatten(1)), ranks=(2, 3), weight=2),
    "reshape": Kind(fixed(lambda h: h.reshape(h.shape[0], -1)), ranks=(0, 2, 3)),
    "pad": Kind(fixed(lambda h: F.pad(h, (1, 0), value=0.3)), ranks=(1, 2, 3), weight=0.5),
    "max_pool": Kind(fixed(lambda h: F.max_pool2d(h, 2, 1)), ranks=(3,)),
    "avg_pool": Kind(fixed(lambda h: F.avg_pool2d(h, 2, 1)), ranks=(3,)),
    "relu_": Kind(_inplace(torch.relu_), weight=1.0),
    "add_": Kind(_inplace(lambda h: h.add_(0.3)), weight=0.5),
    "mul_": Kind(_inplace(lambda h: h.mul_(-0.7)), weight=0.5),
    "view_relu_": Kind(_inplace(lambda h: h.view(h.shape[0], -1)[:, :1].relu_()), weight=0.5),
    "set_first": Kind(_inplace(_set_first), ranks=(1, 2), weight=0.4),
    "float_double": Kind(_cast(torch.float32), weight=0.6),
    "through_double": Kind(_cast(torch.float64), weight=0.3),
    "half": Kind(_cast(torch.float16), weight=0.3),
    "bfloat16": Kind(_cast(torch.bfloat16), weight=0.3),
}
JOINING: dict[str, Kind] = {
    name: Kind(make, arity=2, weight=weight)
    for name, make, weight in [
        ("add", _two(torch.add), 2.0),
        ("sub", _two(torch.sub), 3.0),
        ("mul", _two(torch.mul), 2.0),
        ("div", _two(lambda a, b: a / (1.0 + b * b)), 0.7),
        ("maximum", _two(torch.maximum), 1.0),
        ("minimum", _two(torch.minimum), 1.0),
        ("gate", _two(lambda a, b: a * torch.sigmoid(b)), 1.0),
        ("cat", fixed(lambda a, b: torch.cat((_flat(a), _flat(b)), 1)), 1.5),
        ("stack", _two(lambda a, b: torch.stack((a, b), 1)), 1.0),
        ("outer", fixed(lambda a, b: _flat(a)[:, :, None] @ _flat(b)[:, None, :]), 0.4),
        ("where_two", _two(lambda a, b: torch.where(a > b, a, b)), 0.1),
    ]
}
KINDS = NONLINEAR | SHAPING | JOINING
