"""Augmentation with any noise of smoothing: for certificates in l1 and l0, and against patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.examples import Examples
from epsball.smoothing.draws import copies, named
from epsball.smoothing.losses import gaussian
from epsball.training.base import Batch, Loss, Progress, Recipe, recipes
from epsball.training.evaluate import NoisyAccuracy
from epsball.training.initialise import initialisations, initialise
from epsball.training.parallel import team
from epsball.training.recipes.gaussian import told, training_pass

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.smoothing.noises.continuous import Noise as Law
    from epsball.smoothing.noises.exact import Enumeration


@recipes.register("noise")
@dataclass(frozen=True)
class NoiseTraining(Recipe):
    """Cross-entropy of one copy of each input under any noise that `epsball certify --noise` takes.

    Certify the result with the same noise and scale. Epochs are judged by their accuracy under it: nothing is verified.

    Attributes:
        noise: as `epsball list noises` and `epsball list exact-noises` show.
        scale: of the noise, in its own unit: width, pixels that are seen, side of the seen block.
        hidden: the value of pixels that an ablation hides; certify with `--set noise.hidden=` the same.
        initialisation: see `epsball.training.initialise`.

    Cost:    noise is drawn an input at a time.
    Raises:  BadConfig for an unknown noise or initialisation, and a scale that the noise cannot have.
    Paper:   Yang et al. 2020, arXiv:2002.08118; Levine and Feizi 2020, arXiv:1911.09272, arXiv:2002.10733; 2021, arXiv:2103.10834.
    """

    noise: str
    scale: float
    hidden: float = 0.5
    initialisation: str = "default"

    def __post_init__(self) -> None:
        named(self.noise, self.scale, self.hidden)
        initialisations[self.initialisation]

    @property
    def law(self) -> Law | Enumeration:
        """The noise itself."""
        return named(self.noise, self.scale, self.hidden)

    def check(self, data: Examples, run: Progress) -> None:
        """Raise unless the noise takes such inputs."""
        copies(self.law, data.inputs(slice(0, 1)), torch.zeros(1, dtype=torch.long))

    def initialise(self, net: Network) -> None:
        initialise(self.initialisation)(net)

    def judge(self) -> NoisyAccuracy:
        """What epochs are judged and selected by."""
        return NoisyAccuracy(self.scale, draws=2, noise=self.noise, hidden=self.hidden)

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        seeds = team().share(torch.randint(2**62, (team().size * len(batch.x),)))
        x = copies(self.law, batch.x, seeds)
        with training_pass():
            logits = net.module(x)[None]
        return told(gaussian(logits, batch.y), logits, batch.y)
