"""CROWN-IBP training (Zhang et al. 2020), and its form with loss fusion (Xu et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.errors import BadConfig
from epsball.training.base import Progress, recipes
from epsball.training.linear import fused_sum, linear_worst_logits
from epsball.training.recipes.ibp import Ibp
from epsball.training.schedule import Ramp, check_weight
from epsball.training.worst_case import forms

if TYPE_CHECKING:
    from epsball.training.interval_pass import Bounded
    from epsball.types import Tensor


@recipes.register("crown-ibp")
@dataclass(frozen=True)
class CrownIbp(Ibp):
    """`kappa CE(z) + (1 - kappa) CE(beta CROWN-IBP + (1 - beta) IBP)`: a mixture of the two bounds of the worst-case logits.

    Attributes:
        beta_start: share of the linear bound at the start of the ramp.
        beta_end: at its end; 0 leaves IBP alone, and with it IBP's cost.

    Raises:  BadConfig as for `Ibp`; shares outside [0, 1].
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

    def robust_term(self, bounded: Bounded, y: Tensor, at: Progress) -> Tensor:
        knobs = self.knobs(at)
        beta, share = knobs["beta"], at.value(knobs, "beta")
        worst = bounded.worst_logits(y) if beta < 1 else None
        if beta > 0:
            linear = linear_worst_logits(bounded, y)
            worst = linear if worst is None else share * linear + (1 - share) * worst
        if worst is None:
            raise ValueError("a share is below 1 or above 0")
        return forms[self.form](worst, y)


@recipes.register("crown-ibp-fused")
@dataclass(frozen=True)
class FusedCrownIbp(CrownIbp):
    """CROWN-IBP with loss fusion: `sum_k exp(z_k - z_y)` is bounded as one number, at a cost that is free of the number of classes.

    The two bounds of the sum are mixed before the logarithm.

    Attributes:
        form: cross-entropy; nothing else can be fused.

    Raises:  BadConfig as for `CrownIbp`; another form.
    Paper:   Xu et al. 2020, arXiv:2002.12920, Sec. 3.3.
    """

    kappa_start: float = 0.0
    kappa_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "cross-entropy":
            raise BadConfig(f"the {self.form} form cannot be fused", where="recipe.form", fix="use crown-ibp, or cross-entropy")

    def robust_term(self, bounded: Bounded, y: Tensor, at: Progress) -> Tensor:
        knobs = self.knobs(at)
        beta, share = knobs["beta"], at.value(knobs, "beta")
        if beta == 0:
            return bounded.robust_loss(y)
        fused, plain, shift = fused_sum(bounded, y)
        mixed = fused if beta == 1 else share * fused + (1 - share) * plain
        return (mixed.log() + shift).mean()
