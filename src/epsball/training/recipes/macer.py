"""MACER (Zhai et al. 2020): the certified radius itself, made soft, is maximised without an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.smoothing import losses
from epsball.training.base import recipes
from epsball.training.recipes.gaussian import GaussianTraining, check_option

if TYPE_CHECKING:
    from epsball.types import Tensor


@recipes.register("macer")
@dataclass(frozen=True)
class Macer(GaussianTraining):
    """`-log mean_j p_y + strength sigma / 2 (gap - xi)`, the second part where the soft smoothed classifier is right and xi <= gap.

    `xi` is the difference of the normal quantiles of the label's and the runner-up's mean softmax of `beta z`.

    Attributes:
        samples: noise draws of each input.
        strength: weight of the radius: 12 at sigma 0.25, 4 at sigma 0.5.
        gap: xi beyond which nothing more is gained.
        beta: inverse temperature of the softmax inside xi.

    Raises:  BadConfig as for `GaussianTraining`; a negative option.
    Paper:   Zhai et al. 2020, arXiv:2001.02378, Algorithm 1.
    """

    samples: int = 16
    strength: float = 12.0
    gap: float = 8.0
    beta: float = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("strength", "gap", "beta"):
            check_option(name, getattr(self, name))

    def objective(self, logits: Tensor, y: Tensor) -> Tensor:
        return losses.macer(logits, y, self.sigma, self.strength, self.gap, self.beta)
