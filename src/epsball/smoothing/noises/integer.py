"""Gaussian noise in whole steps of an 8-bit picture, without floating-point leaks.

In float32 the sum of input and noise is rounded, differently for different inputs, and a network can be built that sees it (Voráček
and Hein, ICLR 2023: certified at 1.26, with an adversarial picture at 0.8). Here the noise is a whole number of steps, drawn from a
table of 63-bit thresholds, and the sum is exact. It equals x + Gaussian noise, rounded to the grid: rounding is part of the base
classifier, so Cohen's certificate holds as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from scipy.special import ndtr

from epsball.errors import BadData
from epsball.smoothing.noises.continuous import Gaussian, Shape, check_scale, noises
from epsball.types import Tensor

_BITS = 63


@noises.register("integer-gaussian")
@dataclass(frozen=True)
class IntegerGaussian:
    """Rounded normal noise on the grid k / levels: l2, and through it l1 and linf.

    Attributes:
        sigma: standard deviation before rounding, in units of the inputs.
        levels: inputs are k / levels: 255 for 8-bit pictures. Noisy copies are of the same form, and leave [0, 1].

    Sound:   yes; the table's error (at most 1e-14 of a probability for each threshold) is taken off p_A.
    Cost:    about ten times the time of `Gaussian`'s noise.
    Paper:   Voráček and Hein 2023, Sound randomized smoothing in floating-point arithmetics.
    """

    sigma: float
    levels: int = 255
    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        check_scale(self.sigma, "sigma")
        check_scale(self.levels, "the number of levels")

    @property
    def scale(self) -> float:
        return self.sigma

    def shape(self, inputs: Shape) -> Shape:
        return inputs

    def fill(self, out: Tensor, x: Tensor, generator: torch.Generator) -> None:
        steps = (x.double() * self.levels).round()
        if not bool(((x.double() * self.levels - steps).abs() < 1e-3).all()):
            raise BadData(f"an input is not of the form k/{self.levels}", fix="certify the stored 8-bit picture, divided by 255")
        lowest, table = _table(self.sigma * self.levels)
        drawn = torch.empty(out.shape, dtype=torch.int64, device=x.device).random_(generator=generator)
        noise = torch.searchsorted(table.to(x.device), drawn, right=True) + lowest
        out.copy_((noise + steps.long()).to(out.dtype).div_(self.levels))

    def radii(self, lower: float, upper: float, inputs: Shape) -> Mapping[str, float]:
        slack = self.slack(inputs)
        return Gaussian(self.sigma).radii(max(0.0, lower - slack), min(1.0, upper + slack), inputs)

    def needed(self, radius: float, inputs: Shape) -> float:
        return Gaussian(self.sigma).needed(radius, inputs) + self.slack(inputs)

    def slack(self, inputs: Shape) -> float:
        """How much any probability may differ from exact noise: the table's total variation, summed over the elements."""
        return 1e-14 * (self.sigma * self.levels + 1) * math.prod(inputs)


@lru_cache(maxsize=8)
def _table(spread: float) -> tuple[int, Tensor]:
    """The lowest noise, and thresholds T_k = 2^63 P(noise <= k): a number below T_k, and not below T_(k-1), means noise k."""
    reach = math.ceil(9.5 * spread)  # beyond it a probability is below 2^-63
    exact = []
    for k in range(-reach, reach):
        z = (k + 0.5) / spread
        tail = int(float(ndtr(-abs(z))) * 2.0**_BITS)
        exact.append(min(tail if z < 0 else 2**_BITS - tail, 2**_BITS - 1))
    return -reach, torch.tensor(exact, dtype=torch.int64)
