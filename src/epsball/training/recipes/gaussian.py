"""Gaussian augmentation (Cohen et al. 2019), and what every recipe for smoothing shares: noise draws and their judge."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.device import generator
from epsball.errors import BadConfig
from epsball.smoothing import losses
from epsball.training.base import Batch, Loss, Progress, Recipe, recipes
from epsball.training.evaluate import NoisyAccuracy
from epsball.training.initialise import initialisations, initialise
from epsball.training.parallel import team
from epsball.training.parallel_batch import whole_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epsball.ops.network import Network
    from epsball.types import Tensor


@recipes.register("gaussian")
@dataclass(frozen=True)
class GaussianTraining(Recipe):
    """Cross-entropy of inputs under Gaussian noise, the module itself in training mode. At sigma 0 it is plain training.

    Certify the result by smoothing with the same sigma. Epochs are judged by their accuracy under noise: nothing is verified.

    Attributes:
        sigma: standard deviation of the noise, in the units of the input.
        samples: noise draws of each input in a step.
        initialisation: see `epsball.training.initialise`.

    Raises:  BadConfig for a sigma that is negative or not finite, no samples, an unknown initialisation.
    Paper:   Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918, Sec. 3.3.
    """

    sigma: float
    samples: int = 1
    initialisation: str = "default"

    def __post_init__(self) -> None:
        check_option("sigma", self.sigma)
        check_option("samples", self.samples, least=1)
        initialisations[self.initialisation]

    def initialise(self, net: Network) -> None:
        initialise(self.initialisation)(net)

    def judge(self) -> NoisyAccuracy:
        """What epochs are judged and selected by."""
        return NoisyAccuracy(self.sigma)

    def noise(self, x: Tensor) -> Tensor:
        """Draws (samples, B, *x) that follow from torch's global random state; each process has its share of the whole batch's."""
        random = generator(x.device, int(torch.randint(2**62, ())))
        whole = losses.noisy(x.repeat(team().size, *(1,) * (x.dim() - 1)), self.sigma, self.samples, random)
        return whole if team().size == 1 else torch.stack([team().share(draw) for draw in whole])

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        noise = self.noise(batch.x)
        x = self.inputs(net, batch, noise, at)
        with training_pass():
            logits = losses.under(net.module, x, noise)
        return told(self.objective(logits, batch.y), logits, batch.y)

    def inputs(self, net: Network, batch: Batch, noise: Tensor, at: Progress) -> Tensor:
        """The inputs (B, *x) that the noise is added to."""
        return batch.x

    def objective(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss of logits (samples, B, K)."""
        return losses.gaussian(logits, y)


@contextlib.contextmanager
def training_pass() -> Iterator[None]:
    """`whole_batch`, after which one process has drawn as many random numbers as several: their next noise is the same."""
    if team().size == 1:
        torch.randint(2**62, ())
    with whole_batch():
        yield


def told(total: Tensor, logits: Tensor, y: Tensor) -> Loss:
    """A loss, and what it adds to the cross-entropy under noise."""
    natural = losses.gaussian(logits.detach(), y)
    return Loss(total, {"natural": natural, "regulariser": total.detach() - natural})


def check_option(name: str, value: float, least: float = 0.0) -> None:
    """Raise unless an option is finite and large enough.

    Raises:
        BadConfig: it is not.
    """
    if not (math.isfinite(value) and value >= least):
        raise BadConfig(
            f"{name} must be a finite number of at least {least:g}, not {value}",
            where=f"recipe.{name}",
            fix="see: epsball show recipe",
        )
