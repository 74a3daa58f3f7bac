"""Denoised smoothing (Salman et al. 2020): a denoiser is trained, the classifier behind it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig
from epsball.smoothing import losses
from epsball.smoothing.denoised import Denoised
from epsball.training.base import Batch, Loss, Progress, recipes
from epsball.training.initialise import reset
from epsball.training.recipes.gaussian import GaussianTraining, check_option, training_pass

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.types import Tensor


@recipes.register("denoise")
@dataclass(frozen=True)
class Denoise(GaussianTraining):
    """`reconstruction |D(x + noise) - x|^2 + stability CE(f(D(x + noise)), argmax f(x))`: no labels, and the classifier f is fixed.

    It trains a `Denoised`; `epsball train denoise --model denoiser` makes it of a new denoiser and the classifier of another run.

    Attributes:
        reconstruction: weight of the mean squared error.
        stability: weight of the cross-entropy.
        classifier: run folder or checkpoint of the classifier, for the command line.

    Raises:  BadConfig as for `GaussianTraining`; negative weights or both 0, another initialisation than "default" or "keep".
    Paper:   Salman et al. 2020, arXiv:2003.01908, Sec. 3.
    """

    reconstruction: float = 1.0
    stability: float = 1.0
    classifier: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("reconstruction", self.reconstruction)
        check_option("stability", self.stability)
        if self.reconstruction == self.stability == 0:
            raise BadConfig("a loss without terms", where="recipe.stability", fix="give reconstruction or stability a weight")
        if self.initialisation not in ("default", "keep"):
            raise BadConfig(
                f"a denoiser has no initialisation {self.initialisation!r}",
                where="recipe.initialisation",
                fix="use default or keep",
            )

    @property
    def frozen(self) -> str:
        return self.classifier

    def initialise(self, net: Network) -> None:
        if self.initialisation == "default":
            reset(_parts(net).denoiser)

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        both, noise = _parts(net), self.noise(batch.x)
        with training_pass():
            cleaned = both.denoiser((batch.x + noise).flatten(0, 1)).view(noise.shape)
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.reconstruction > 0:
            terms["reconstruction"] = self.reconstruction, losses.reconstruction(cleaned, batch.x)
        if self.stability > 0:
            with torch.no_grad():
                clean = both.classifier(batch.x)
            logits = both.classifier(cleaned.flatten(0, 1)).view(len(noise), len(clean), -1)
            terms["stability"] = self.stability, losses.stability(logits, clean)
        total = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return Loss(total, {name: term.detach() for name, (_, term) in terms.items()})


def _parts(net: Network) -> Denoised:
    if not isinstance(net.module, Denoised):
        raise BadConfig(
            "the recipe denoise trains a denoiser in front of a fixed classifier",
            where=type(net.module).__name__,
            fix="give a Denoised(denoiser, classifier); on the command line --model denoiser --set classifier=RUN",
        )
    return net.module
