"""Interval bound propagation training (Gowal et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData
from epsball.examples import Examples
from epsball.problem.threat import Threat
from epsball.training.base import Batch, Loss, Policy, Progress, Recipe, Schedule, recipes
from epsball.training.initialise import initialisations, initialise
from epsball.training.quantities import Quantities
from epsball.training.schedule import Ramp, Shape, check_weight
from epsball.training.statistics import check_policy
from epsball.training.worst_case import forms

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.problem.columns import Columns
    from epsball.training.interval_pass import Bounded
    from epsball.types import Tensor

_PART = 4096  # examples that are checked at once


@recipes.register("ibp")
@dataclass(frozen=True)
class IbpTraining(Recipe):
    """`kappa CE(z) + (1 - kappa) CE(worst-case logits of IBP)`, with elision and the clean batch's batch-norm statistics.

    At eps 0 the two terms are one, and only the natural one is computed.

    Attributes:
        eps: the final radius, in the units of the input.
        warmup: epochs at eps 0.
        ramp: epochs over which eps grows to its final value, and kappa moves linearly from its first to its last one.
        shape: of the ramp of eps: "linear" or "smooth".
        kappa_start: weight of the natural loss at the start of the ramp.
        kappa_end: at its end.
        clip: valid range of the inputs, or None.
        initialisation: see `epsball.training.initialise`.
        form: of the robust loss: "cross-entropy", "margin" or "hinge".
        batch_norm: whose statistics the bounds pass batch norm with: see `epsball.training.statistics.Policy`.
        against: other perturbations than a linf ball; `eps` is then the share of them that is reached, 1, and `clip` is not used.

    Raises:  BadConfig for a radius that is negative or wider than the valid range, weights outside [0, 1], unknown names.
    Paper:   Gowal et al. 2018, arXiv:1810.12715, Sec. 4.
    """

    eps: float
    warmup: float = 1.0
    ramp: float = 20.0
    shape: Shape = "linear"
    kappa_start: float = 1.0
    kappa_end: float = 0.5
    clip: tuple[float, float] | None = (0.0, 1.0)
    initialisation: str = "default"
    form: str = "cross-entropy"
    batch_norm: Policy = "clean"
    against: Threat | None = None

    def __post_init__(self) -> None:
        check_eps(self.eps, self.clip)
        if self.against is not None and self.eps != 1:
            raise BadConfig(
                f"eps {self.eps:g} beside perturbations of their own size",
                where="recipe.eps",
                fix="give eps = 1, the whole of them: their radii are in the threat",
            )
        if self.against is not None and self.against.kind not in ("linf", "radii", "columns"):
            raise BadConfig(
                f"training against a threat in the norm {self.against.norm} would bound its hull alone",
                where="recipe.against",
                fix="give radii in linf, or columns",
            )
        check_weight(self.kappa_start, "recipe.kappa_start")
        check_weight(self.kappa_end, "recipe.kappa_end")
        self.radius()
        initialisations[self.initialisation]
        forms[self.form]
        self.check_batch_norm()

    @property
    def threat(self) -> Threat:
        return self.against or Threat(self.eps, clip=self.clip)

    def over(self, table: Columns | None) -> IbpTraining:
        return self if self.against is None else replace(self, against=self.against.of(table))

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.warmup, self.ramp)

    @property
    def statistics(self) -> Policy:
        return self.batch_norm

    def check_batch_norm(self) -> None:
        """Raise unless the batch-norm policy makes sense for this recipe."""
        check_policy(self.batch_norm, allowed=("clean", "detached", "population"))

    def radius(self) -> Ramp:
        """The schedule of eps."""
        return Ramp(self.eps, 0.0, self.warmup, self.ramp, self.shape)

    def kappa(self) -> Ramp:
        """The schedule of the natural loss's weight."""
        return Ramp(self.kappa_end, self.kappa_start, self.warmup, self.ramp, paced="kappa")

    def check(self, data: Examples, run: Progress) -> None:
        self.radius().check(run)
        if self.against is not None:
            for start in range(0, len(data), _PART):  # a row that the threat does not know fails here, before the first step
                self.against.around(data.inputs(slice(start, start + _PART)))
            return
        if self.clip is None:
            return
        low, high = (float(end) for end in data.inputs().aminmax()) if data.x.is_floating_point() else (0.0, 1.0)
        if low < self.clip[0] or high > self.clip[1]:
            raise BadData(
                f"inputs reach from {low:.4g} to {high:.4g}, outside the valid range [{self.clip[0]:g}, {self.clip[1]:g}]",
                where="recipe.clip",
                fix="scale the inputs, give their own range, or clip = 'none'",
            )

    def eps_at(self, at: Progress) -> float:
        return self.radius()(at)

    def initialise(self, net: Network) -> None:
        initialise(self.initialisation)(net)

    def knobs(self, at: Progress) -> dict[str, float]:
        """The numbers of the loss that change from step to step; which terms it has follows from those that are 0 or 1."""
        eps = self.eps_at(at)
        return {"eps": eps, "kappa": self.kappa()(at) if eps > 0 else 1.0, "weight": self.weight_at(at)}

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        """The loss of a step; at eps 0 bounds are computed only where a regulariser needs them."""
        knobs = self.knobs(at)
        eps, share, factor = (at.value(knobs, name) for name in ("eps", "kappa", "weight"))
        kappa, weight = knobs["kappa"], knobs["weight"]  # which terms there are never depends on what is on the device
        step = Quantities(net, batch, eps, self.clip, self.batch_norm, self.against)
        terms: list[tuple[str, float | Tensor, Tensor]] = []
        if kappa > 0:
            terms.append(("natural", share, step.natural))
        if kappa < 1:
            terms.append(("robust", 1 - share, self.robust_term(step, at)))
        if weight > 0:
            terms.extend((name, factor, term) for name, term in self.regularisers(step.bounded).items())
        total = torch.stack([times * term for _, times, term in terms]).sum()
        return Loss(total, {name: term.detach() for name, _, term in terms}, step.running)

    def robust_term(self, step: Quantities, at: Progress) -> Tensor:
        """The robust loss, a scalar."""
        return forms[self.form](step.worst, step.batch.y)

    def weight_at(self, at: Progress) -> float:
        """The weight of the regularisers."""
        return 0.0

    def regularisers(self, bounded: Bounded) -> dict[str, Tensor]:
        """The terms that `weight_at` multiplies."""
        return {}


def check_eps(eps: float, clip: tuple[float, float] | None) -> None:
    """Raise unless a radius can be trained at.

    Raises:
        BadConfig: it is negative, not finite, or wider than the valid range; or that range is empty.
    """
    if not (math.isfinite(eps) and eps >= 0):
        raise BadConfig(
            f"eps must be a finite number of at least 0, not {eps}",
            where="recipe.eps",
            fix="give a radius in units of the inputs, such as 8/255",
        )
    if clip is None:
        return
    if not clip[0] < clip[1]:
        raise BadConfig(f"the valid range {list(clip)} is empty", where="recipe.clip", fix="give [low, high] with low < high")
    if eps > clip[1] - clip[0]:
        raise BadConfig(
            f"eps {eps:g} is wider than the valid range [{clip[0]:g}, {clip[1]:g}]",
            where="recipe.eps",
            fix="give eps in the units of the input: 8/255, not 8",
        )
