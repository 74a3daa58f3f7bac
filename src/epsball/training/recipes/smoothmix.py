"""SmoothMix (Jeong et al. 2021): between an input and its adversarial end, the confidence should fade to uniform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.attacks.untouched import untouched
from epsball.errors import BadData
from epsball.examples import Examples
from epsball.smoothing import losses
from epsball.training.base import Batch, Loss, Progress, Schedule, recipes
from epsball.training.parallel import team
from epsball.training.recipes.gaussian import GaussianTraining, check_option, told, training_pass
from epsball.training.schedule import Ramp

if TYPE_CHECKING:
    from epsball.ops.network import Network


@recipes.register("smoothmix")
@dataclass(frozen=True)
class SmoothMix(GaussianTraining):
    """Cross-entropy under noise, plus `strength mean_j KL(target || f(mixture + noise_j))` where the soft smoothing is right.

    The mixture goes a share in [0, 1/2] of the way to a point that unit steps of ascent find, without a bound on their length;
    the target goes the same share of the way to uniform.

    Attributes:
        samples: noise draws of each input, shared by ascent and both losses.
        steps: of the ascent: 4, 8 and 16 at sigma 0.25, 0.5 and 1.
        step_size: l2 length of a step, in the units of the input, which is in [0, 1].
        strength: of the mixtures; on MNIST 1 or 5.
        ramp: epochs over which the strength grows from 0.

    Raises:  BadConfig as for `GaussianTraining`; a negative option, no steps. BadData: inputs outside [0, 1].
    Paper:   Jeong et al. 2021, arXiv:2111.09277, Sec. 3.  Differs: its optional one-step adversary is left out.
    """

    samples: int = 2
    steps: int = 8
    step_size: float = 1.0
    strength: float = 5.0
    ramp: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("steps", self.steps, least=1)
        check_option("step_size", self.step_size)
        check_option("strength", self.strength)
        self.weight()

    @property
    def schedule(self) -> Schedule:
        return Schedule(0.0, self.ramp)

    def weight(self) -> Ramp:
        """The schedule of the strength."""
        return Ramp(self.strength, ramp=self.ramp)

    def check(self, data: Examples, run: Progress) -> None:
        self.weight().check(run)
        low, high = (float(end) for end in data.inputs().aminmax()) if data.x.is_floating_point() else (0.0, 1.0)
        if low < 0 or high > 1:
            raise BadData(
                f"inputs reach from {low:.4g} to {high:.4g}, and SmoothMix keeps them in [0, 1]",
                where="recipe smoothmix",
                fix="scale the inputs, or use another recipe",
            )

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        strength = self.weight()(at)
        if strength == 0:
            return super().loss(net, batch, at)
        x, y, noise = batch.x, batch.y, self.noise(batch.x)
        share = 0.5 * team().share(torch.rand(len(x) * team().size, dtype=x.dtype)).to(x.device)
        with untouched(net.module):
            far = losses.smoothmix_points(net.module, x, y, noise, self.steps, self.step_size)
        mixture = x + share.view(-1, *(1,) * (x.dim() - 1)) * (far - x)
        with training_pass():
            logits, mixed = (losses.under(net.module, at_x, noise) for at_x in (x, mixture))
        return told(losses.smoothmix(logits, mixed, y, share, strength), logits, y)
