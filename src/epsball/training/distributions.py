"""The initialisations that Table 3.1 of the thesis compares, for every layer of a network, with their difference gains."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from epsball.training.initialise import Default, initialisations, layer_weights

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.types import Tensor


class Drawn(ABC):
    """The weight of every layer from one distribution that depends on the fan-in alone; everything else as PyTorch sets it."""

    def __call__(self, net: Network) -> None:
        Default()(net)
        with torch.no_grad():
            for weight, fan_in in layer_weights(net):
                self.draw(weight, fan_in)

    @abstractmethod
    def draw(self, weight: Tensor, fan_in: int) -> None:
        """Fill a weight in place, from the global random state."""

    @abstractmethod
    def gain(self, fan_in: int) -> float:
        """The difference gain in closed form: `(n / 2) E|W|`."""


@initialisations.register("xavier-uniform")
@dataclass(frozen=True)
class XavierUniform(Drawn):
    """`U(-1/sqrt(n), 1/sqrt(n))`: what the thesis calls Xavier (uniform), and PyTorch's default."""

    def draw(self, weight: Tensor, fan_in: int) -> None:
        weight.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def gain(self, fan_in: int) -> float:
        return math.sqrt(fan_in) / 4


@initialisations.register("xavier-gaussian")
@dataclass(frozen=True)
class XavierGaussian(Drawn):
    """`N(0, 1/n)`."""

    def draw(self, weight: Tensor, fan_in: int) -> None:
        weight.normal_(0.0, 1 / math.sqrt(fan_in))

    def gain(self, fan_in: int) -> float:
        return math.sqrt(fan_in / (2 * math.pi))


@initialisations.register("kaiming-uniform")
@dataclass(frozen=True)
class KaimingUniform(Drawn):
    """`U(-sqrt(6/n), sqrt(6/n))` (He et al. 2015, arXiv:1502.01852)."""

    def draw(self, weight: Tensor, fan_in: int) -> None:
        weight.uniform_(-math.sqrt(6 / fan_in), math.sqrt(6 / fan_in))

    def gain(self, fan_in: int) -> float:
        return math.sqrt(6 * fan_in) / 4


@initialisations.register("kaiming-gaussian")
@dataclass(frozen=True)
class KaimingGaussian(Drawn):
    """`N(0, 2/n)` (He et al. 2015, arXiv:1502.01852)."""

    def draw(self, weight: Tensor, fan_in: int) -> None:
        weight.normal_(0.0, math.sqrt(2 / fan_in))

    def gain(self, fan_in: int) -> float:
        return math.sqrt(fan_in / math.pi)


@initialisations.register("orthogonal")
@dataclass(frozen=True)
class Orthogonal(Drawn):
    """A random orthogonal matrix (Saxe et al. 2014, arXiv:1312.6120).

    With no more rows than columns each row is uniform on the sphere, which gives the gain a closed form after all: with
    `E|w| = Gamma(n/2) / (sqrt(pi) Gamma((n+1)/2))`. Wider layers have orthonormal columns instead, and a smaller gain.
    """

    def draw(self, weight: Tensor, fan_in: int) -> None:
        nn.init.orthogonal_(weight)

    def gain(self, fan_in: int) -> float:
        return fan_in / 2 * math.exp(math.lgamma(fan_in / 2) - math.lgamma((fan_in + 1) / 2)) / math.sqrt(math.pi)
