"""CROWN-IBP training (Zhang et al. 2020), and its form with loss fusion (Xu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.errors import BadConfig
from epsball.training.base import Progress, recipes
from epsball.training.linear import fused_sum
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.schedule import Ramp, check_weight
from epsball.training.worst_case import forms

if TYPE_CHECKING:
    from epsball.training.quantities import Quantities
    from epsball.types import Tensor


@recipes.register("crown-ibp")
@dataclass(frozen=True)
class CrownIbpTraining(IbpTraining):
    """`kappa CE(z) + (1 - kappa) CE(beta CROWN-IBP + (1 - beta) IBP)`: a mixture of the two bounds of the worst-case logits.

    Attributes:
        beta_start: share of the linear bound at the start of the ramp.
        beta_end: at its end; 0 leaves IBP alone, and with it IBP's cost.

    Raises:  BadConfig as for `IbpTraining`; shares outside [0, 1].
    Paper:   Zhang et al. 2020, arXiv:1906.06316, Eq. 14.  Differs: the lower slope of an unstable ReLU is 1 where u > -l, else 0.
    """

    kappa_end: float = 0.5
    beta_start: float = 1.0
    beta_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.beta_start, "recipe.beta_start")
        check_weight(self.beta_end, "recipe.beta_end")

    def beta(self) -> Ramp:
        """The schedule of the linear bound's share."""
        return Ramp(self.beta_end, self.beta_start, self.warmup, self.ramp, paced="kappa")

    def knobs(self, at: Progress) -> dict[str, float]:
        return {**super().knobs(at), "beta": self.beta()(at)}

    def robust_term(self, step: Quantities, at: Progress) -> Tensor:
        knobs = self.knobs(at)
        beta, share = knobs["beta"], at.value(knobs, "beta")
        if beta in (0, 1):
            worst = step.linear if beta else step.worst
        else:
            plain = step.worst
            worst = share * step.linear + (1 - share) * plain
        return forms[self.form](worst, step.batch.y)


@recipes.register("crown-ibp-fused")
@dataclass(frozen=True)
class FusedCrownIbp(CrownIbpTraining):
    """CROWN-IBP with loss fusion: `sum_k exp(z_k - z_y)` is bounded as one number, at a cost that is free of the number of classes.

    The two bounds of the sum are mixed before the logarithm.

    Attributes:
        form: cross-entropy; nothing else can be fused.

    Raises:  BadConfig as for `CrownIbpTraining`; another form.
    Paper:   Xu et al. 2020, arXiv:2002.12920, Sec. 3.3.
    """

    kappa_start: float = 0.0
    kappa_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "cross-entropy":
            raise BadConfig(f"the {self.form} form cannot be fused", where="recipe.form", fix="use crown-ibp, or cross-entropy")

    def robust_term(self, step: Quantities, at: Progress) -> Tensor:
        knobs = self.knobs(at)
        beta, share = knobs["beta"], at.value(knobs, "beta")
        if beta == 0:
            return step.bounded.robust_loss(step.batch.y)
        fused, plain, shift = fused_sum(step.bounded, step.batch.y)
        mixed = fused if beta == 1 else share * fused + (1 - share) * plain
        return (mixed.log() + shift).mean()
