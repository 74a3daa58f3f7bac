"""SmoothAdv (Salman et al. 2019): adversarial training of the smoothed classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.attacks.untouched import untouched
from epsball.examples import Examples
from epsball.problem.threat import Threat
from epsball.smoothing import losses
from epsball.training.base import Batch, Progress, Schedule, recipes
from epsball.training.recipes.gaussian import GaussianTraining, check_option
from epsball.training.schedule import Ramp

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.types import Tensor


@recipes.register("smoothadv")
@dataclass(frozen=True)
class SmoothAdv(GaussianTraining):
    """Cross-entropy under noise at the inputs that PGD finds against the soft smoothed classifier, with the same noise draws.

    The attack sees the network in evaluation mode, starts at the input and takes l2 steps of `2 eps / steps`.

    Attributes:
        samples: noise draws of each input, shared by attack and loss.
        eps: final l2 radius of the attack, in the units of the input.
        steps: of the attack.
        ramp: epochs over which eps grows from 0.

    Raises:  BadConfig as for `GaussianTraining`; a negative radius, no steps.
    Paper:   Salman et al. 2019, arXiv:1906.04584, Sec. 3.  Differs: eps grows with every step, not once an epoch.
    """

    samples: int = 2
    eps: float = 1.0
    steps: int = 10
    ramp: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("eps", self.eps)
        check_option("steps", self.steps, least=1)
        self.radius()

    @property
    def threat(self) -> Threat:
        return Threat(self.eps, "l2")

    @property
    def schedule(self) -> Schedule:
        return Schedule(0.0, self.ramp)

    def radius(self) -> Ramp:
        """The schedule of eps."""
        return Ramp(self.eps, ramp=self.ramp)

    def check(self, data: Examples, run: Progress) -> None:
        self.radius().check(run)

    def eps_at(self, at: Progress) -> float:
        return self.radius()(at)

    def inputs(self, net: Network, batch: Batch, noise: Tensor, at: Progress) -> Tensor:
        eps = self.eps_at(at)
        if eps == 0:
            return batch.x
        with untouched(net.module):
            return losses.smooth_adversary(net.module, batch.x, batch.y, noise, eps, self.steps)
