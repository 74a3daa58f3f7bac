"""GELU, SiLU and Mish: concave, convex between two inflections, concave again, with one minimum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from epsball.ops.activations.curved import Curved, Piece
from epsball.ops.elementwise import relaxations
from epsball.types import Tensor


def _bowl(low: float, high: float) -> tuple[Piece, ...]:
    return Piece(-math.inf, low, convex=False), Piece(low, high, convex=True), Piece(high, math.inf, convex=False)


@relaxations.register("gelu")
@dataclass(frozen=True)
class Gelu(Curved):
    """`x Phi(x)` with the normal distribution function; `f'' = phi(x) (2 - x^2)`."""

    pieces = _bowl(-math.sqrt(2), math.sqrt(2))
    cancels = True
    stationary = (-0.7517915246935644574579,)

    def __call__(self, x: Tensor) -> Tensor:
        return F.gelu(x)

    def derivative(self, x: Tensor) -> Tensor:
        density = torch.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
        return 0.5 * (1 + torch.erf(x * math.sqrt(0.5))) + x * density


@relaxations.register("gelu_tanh")
@dataclass(frozen=True)
class GeluTanh(Curved):
    """`x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`; its inflections were found with 40 digits."""

    pieces = _bowl(-1.4185040087908283555480, 1.4185040087908283555480)
    cancels = True
    stationary = (-0.7524614220710162584880,)

    def __call__(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    def derivative(self, x: Tensor) -> Tensor:
        near = x.clamp(-20, 20)
        root = math.sqrt(2 / math.pi)
        t = torch.tanh(root * (near + 0.044715 * near**3))
        return 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * root * (1 + 3 * 0.044715 * near * near)


@relaxations.register("silu")
@dataclass(frozen=True)
class Silu(Curved):
    """`x sigmoid(x)`."""

    pieces = _bowl(-2.3993572805154676678327, 2.3993572805154676678327)
    cancels = True
    stationary = (-1.2784645427610737951094,)

    def __call__(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def derivative(self, x: Tensor) -> Tensor:
        s = x.sigmoid()
        return s * (1 + x * (1 - s))


@relaxations.register("mish")
@dataclass(frozen=True)
class Mish(Curved):
    """`x tanh(softplus(x))` (Misra 2019)."""

    pieces = _bowl(-2.2563763963607931200057, 1.4905711794854284592944)
    cancels = True
    stationary = (-1.1924312145154952121376,)

    def __call__(self, x: Tensor) -> Tensor:
        return F.mish(x)

    def derivative(self, x: Tensor) -> Tensor:
        t = F.softplus(x).tanh()
        return t + x * (1 - t * t) * x.sigmoid()
