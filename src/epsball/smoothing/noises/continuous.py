"""Smoothing noise and what it proves: each kind knows how to draw noisy copies and which radii follow from p_A and p_B.

`p_A` (a lower bound for the class that is certified) and `p_B` (an upper bound for every other class) are probabilities over the
noise at the nominal input. A radius is strict: the smoothed class does not change where the perturbation is smaller (l0, a number
of pixels, is not strict).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch
from scipy.special import ndtr, ndtri

from epsball.errors import BadConfig
from epsball.registry import Registry
from epsball.types import Tensor

Shape = tuple[int, ...]


class Noise(Protocol):
    """A frozen dataclass whose fields are its options."""

    norm: ClassVar[str]

    @property
    def scale(self) -> float:
        """The unit of a tolerance on the radius."""
        ...

    def shape(self, inputs: Shape) -> Shape:
        """Shape of a noisy copy of an input of that shape: what the base classifier takes."""
        ...

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        """Write noisy copies (n, *shape(x)) of one input (*x)."""
        ...

    def radii(self, lower: float, upper: float, inputs: Shape, /) -> Mapping[str, float]:
        """Radii by norm from p_A and p_B; the one of `norm` first. 0 where nothing follows."""
        ...

    def needed(self, radius: float, inputs: Shape, /) -> float:
        """The p_A above which the radius in `norm` is certified, with p_B = 1 - p_A.

        Raises:
            BadConfig: no probability certifies that radius.
        """
        ...


noises: Registry[type[Noise]] = Registry("noise", package="epsball.smoothing.noises")


def check_scale(value: float, name: str) -> None:
    """A scale that is not a positive number is an error."""
    if not (math.isfinite(value) and value > 0):
        raise BadConfig(f"{name} must be a positive number, not {value}", fix="in units of the inputs: 0.25 for pictures in [0, 1]")


def check_radius(radius: float) -> None:
    """A radius that is not a number of at least 0 is an error."""
    if not (math.isfinite(radius) and radius >= 0):
        raise BadConfig(f"a radius must be a finite number of at least 0, not {radius}")


@noises.register("gaussian")
@dataclass(frozen=True)
class Gaussian:
    """Normal noise: l2, and through it l1 and linf.

    ||d||_1 >= ||d||_2, so the same radius holds in l1; ||d||_2 <= sqrt(size) ||d||_inf gives linf.

    Attributes:
        sigma: standard deviation, in units of the inputs (before any normalisation, which belongs into the network).

    Sound:   with the stated probability, up to float32: the sum of input and noise is rounded. `IntegerGaussian` is not.
    Paper:   Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918, Thm 1.
    """

    sigma: float
    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        check_scale(self.sigma, "sigma")

    @property
    def scale(self) -> float:
        return self.sigma

    def shape(self, inputs: Shape) -> Shape:
        return inputs

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        out.normal_(generator=generator)
        torch.add(x, out, alpha=self.sigma, out=out)

    def radii(self, lower: float, upper: float, inputs: Shape) -> Mapping[str, float]:
        radius = max(0.0, self.sigma / 2 * float(ndtri(lower) - ndtri(upper)))
        return MappingProxyType({"l2": radius, "l1": radius, "linf": radius / math.sqrt(math.prod(inputs))})

    def needed(self, radius: float, _inputs: Shape) -> float:
        check_radius(radius)
        return float(ndtr(radius / self.sigma))


@noises.register("uniform")
@dataclass(frozen=True)
class Uniform:
    """Uniform noise on [-width, width] in each coordinate: l1, and linf of its own.

    The boxes of x and x + d overlap in a share prod(1 - |d_i| / (2 width)) >= 1 - ||d||_1 / (2 width).

    Attributes:
        width: half the width of the box.

    Paper:   Yang et al. 2020, arXiv:2002.08118.
    """

    width: float
    norm: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        check_scale(self.width, "the width of uniform noise")

    @property
    def scale(self) -> float:
        return self.width

    def shape(self, inputs: Shape) -> Shape:
        return inputs

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        out.uniform_(-self.width, self.width, generator=generator)
        out.add_(x)

    def radii(self, lower: float, upper: float, inputs: Shape) -> Mapping[str, float]:
        gap = max(0.0, lower - upper)
        linf = -math.expm1(math.log1p(-gap / 2) / math.prod(inputs))
        return MappingProxyType({"l1": self.width * gap, "linf": 2 * self.width * linf})

    def needed(self, radius: float, _inputs: Shape) -> float:
        check_radius(radius)
        if radius >= self.width:
            raise BadConfig(
                f"uniform noise of width {self.width} cannot certify an l1 radius of {radius}", fix="ask for less than the width"
            )
        return 0.5 + radius / (2 * self.width)


@noises.register("laplace")
@dataclass(frozen=True)
class Laplace:
    """Laplace noise: l1. The density changes by a factor of at most exp(||d||_1 / width).

    Attributes:
        width: the mean absolute value of each coordinate.

    Paper:   Lecuyer et al. 2019, arXiv:1802.03471; Teng et al. 2020.
    """

    width: float
    norm: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        check_scale(self.width, "the width of Laplace noise")

    @property
    def scale(self) -> float:
        return self.width

    def shape(self, inputs: Shape) -> Shape:
        return inputs

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        out.uniform_(-1, 1, generator=generator)
        sign = out.sign()
        out.abs_().neg_().clamp_(min=-1 + torch.finfo(out.dtype).eps / 2).log1p_().mul_(sign.neg_())
        torch.add(x, out, alpha=self.width, out=out)

    def radii(self, lower: float, upper: float, _inputs: Shape) -> Mapping[str, float]:
        if lower <= upper:
            return MappingProxyType({"l1": 0.0})
        both = math.log(lower / upper) / 2 if upper > 0 else math.inf  # p_A shrinks and p_B grows by the factor
        rest = -math.log(1 - lower + upper) if lower - upper < 1 else math.inf  # so does everything but A
        return MappingProxyType({"l1": self.width * max(both, rest)})

    def needed(self, radius: float, _inputs: Shape) -> float:
        check_radius(radius)
        return 1 - math.exp(-radius / self.width) / 2
