"""Adversarial training (Madry et al. 2018): the loss at the worst point that an attack finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.attacks.pgd import PGD
from epsball.ops.prepared import prepare
from epsball.training.base import Batch, Loss, Progress, recipes
from epsball.training.quantities import Quantities
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.schedule import Shape
from epsball.training.statistics import check_policy, clean_pass
from epsball.training.worst_case import forms

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.types import Params, Tensor


@recipes.register("pgd")
@dataclass(frozen=True)
class Pgd(IbpTraining):
    """`kappa CE(z(x)) + (1 - kappa) CE(z(x'))`, with x' found by PGD: a lower bound of the robust loss, so nothing is certified.

    The attack sees the network with the clean batch's statistics as constants, or with the running ones under the policy
    "adversarial"; its random start follows from torch's global random state.

    Attributes:
        steps: of the attack.
        step_size: of the attack, as a share of the radius.

    Raises:  BadConfig as for `IbpTraining`; an option that the attack refuses.
    Paper:   Madry et al. 2018, arXiv:1706.06083.  Differs: the attack keeps the worst point on its way, not the last one.
    """

    warmup: float = 0.0
    ramp: float = 0.0
    shape: Shape = "linear"
    kappa_start: float = 0.0
    kappa_end: float = 0.0
    steps: int = 10
    step_size: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self.attack()

    def check_batch_norm(self) -> None:
        check_policy(self.batch_norm)

    def attack(self) -> PGD:
        """The attack of a step."""
        return PGD(self.steps, self.step_size, decay="none")

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        knobs = self.knobs(at)
        kappa, eps, share = knobs["kappa"], at.value(knobs, "eps"), at.value(knobs, "kappa")
        own = self.batch_norm == "adversarial"
        step = Quantities(net, batch, eps, self.clip, self.batch_norm, self.against)
        terms: list[tuple[str, float | Tensor, Tensor]] = []
        if kappa > 0:
            terms.append(("natural", share, step.natural))
        running = {} if own and kappa == 0 else step.running
        if kappa < 1:
            seen = step.params if own else step.params | step.statistics
            x = self.attacked(step, seen)
            if own:
                adversarial = clean_pass(net.plan, step.params, x)
                logits, running = adversarial.logits, adversarial.running
            else:
                logits = prepare(net.plan, seen).forward(x)
            if logits is None:
                raise ValueError("the pass was asked for logits")
            worst = logits - logits.gather(1, batch.y[:, None])
            terms.append(("adversarial", 1 - share, forms[self.form](worst, batch.y)))
        total = torch.stack([factor * term for _, factor, term in terms]).sum()
        return Loss(total, {name: term.detach() for name, _, term in terms}, running)

    def attacked(self, step: Quantities, seen: Params) -> Tensor:
        """The inputs (B, *x) that the attack finds, without gradient."""
        return step.attacked(self.attack(), seen)
