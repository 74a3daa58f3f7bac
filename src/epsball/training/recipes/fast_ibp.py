"""Fast-IBP: IBP training with a short warm-up (Shi, Wang, Zhang, Yi and Hsieh 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.errors import BadConfig
from epsball.training.base import Progress, recipes
from epsball.training.parallel import whole_mean
from epsball.training.parallel_batch import states
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.regularise import balance, tightness
from epsball.training.schedule import Shape

if TYPE_CHECKING:
    from epsball.training.interval_pass import Bounded
    from epsball.types import Tensor

_LEAST_EPS = 1e-6


@recipes.register("fast-ibp")
@dataclass(frozen=True)
class FastIbp(IbpTraining):
    """IBP training with its initialisation and two regularisers; meant for networks with batch norm after every layer.

    The loss is the robust one (the natural one while eps is 0) plus `lambda (L_tight + L_relu)`, with
    `lambda = lambda_0 (1 - eps / eps_max)`, so that nothing is added once eps is at its maximum.

    Attributes:
        tolerance: tau of both regularisers.
        regularisation: lambda_0.

    Raises:  BadConfig as for `IbpTraining`; a tolerance outside (0, 1], a negative weight.
    Paper:   Shi et al. 2021, arXiv:2103.17268.  Differs: a layer without active or without inactive units is told by counting
             them, and not by its ratio being NaN.
    """

    shape: Shape = "smooth"
    kappa_start: float = 0.0
    kappa_end: float = 0.0
    initialisation: str = "ibp"
    tolerance: float = 0.5
    regularisation: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tolerance <= 1:
            raise BadConfig(
                f"the tolerance must lie in (0, 1], not {self.tolerance}",
                where="recipe.tolerance",
                fix="give a tolerance such as 0.5",
            )
        if not self.regularisation >= 0:
            raise BadConfig(
                f"the weight of the regularisers must be at least 0, not {self.regularisation}",
                where="recipe.regularisation",
                fix="give a weight such as 0.5",
            )

    def knobs(self, at: Progress) -> dict[str, float]:
        found = super().knobs(at)
        return {**found, "eps": max(found["eps"], _LEAST_EPS)}  # the regularisers need bounds also at eps 0

    def weight_at(self, at: Progress) -> float:
        return self.regularisation * (1.0 - self.radius().share(at))

    def regularisers(self, bounded: Bounded) -> dict[str, Tensor]:
        if not bounded.relus:
            return {}  # both are about ReLUs
        layers = states([pre for _, pre in bounded.relus])
        first = whole_mean(bounded.input.width.mean())
        return {"tightness": tightness(first, layers, self.tolerance), "balance": balance(layers, self.tolerance)}
