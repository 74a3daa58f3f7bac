"""What a run measures of itself once an epoch: accuracies on held-out examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from epsball.bounding.base import least_margins
from epsball.bounding.ibp import Ibp
from epsball.device import exact_arithmetic, generator
from epsball.errors import BadConfig
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.problem.threat import Threat
from epsball.smoothing import losses
from epsball.smoothing.draws import copies, named

if TYPE_CHECKING:
    from epsball.examples import Examples
    from epsball.ops.network import Network
    from epsball.training.base import Recipe
    from epsball.training.config import TrainConfig
    from epsball.types import Float, Tensor

_BATCH = 512


class Scores(NamedTuple):
    """Accuracies in [0, 1]; no verified input is counted that is not also classified rightly.

    Attributes:
        clean: without any perturbation.
        verified: proven over the ball; None where nothing is verified.
        noisy: under the noise of smoothing, a mean over draws that proves nothing; None where none is drawn.
    """

    clean: float
    verified: float | None
    noisy: float | None = None

    def known(self) -> dict[str, float]:
        """Those that were measured, by name."""
        return {name: share for name, share in self._asdict().items() if share is not None}

    @property
    def rank(self) -> tuple[float, float]:
        """What epochs are selected by."""
        return (self.verified or 0.0) if self.noisy is None else self.noisy, self.clean


class Evaluation(ABC):
    """How a run judges itself: a frozen dataclass whose fields are its options."""

    @property
    def verifier(self) -> str:
        """The name of the verifier behind `Scores.verified`; empty where there is none."""
        return ""

    @property
    def threat(self) -> Threat | None:
        """The perturbations that are bounded; None where none are."""
        return None

    @property
    def told(self) -> dict[str, Any]:
        """What a summary says of it: `eps` and `norm`, or `sigma`, `noise` and `hidden`."""
        threat = self.threat
        norm, eps = ("linf", None) if threat is None else (threat.kind, threat.size)
        return {"eps": eps, "norm": norm, "sigma": None, "noise": None, "hidden": None}

    @abstractmethod
    def __call__(self, net: Network, data: Examples) -> Scores:
        """Accuracies with the running batch-norm statistics."""


@dataclass(frozen=True)
class IbpAccuracy(Evaluation):
    """Clean accuracy, and the share that interval bounds verify.

    Attributes:
        eps: radius in the units of the input.
        clip: valid range of the inputs, or None.
        batch: examples at a time.
        norm: of the ball; in another one than "linf" its hull is bounded.
        against: other perturbations than a ball; then there is no other radius, range or norm.

    Sound: yes, up to floating point; the box is rounded outwards, as in verification.
    """

    eps: float
    clip: tuple[float, float] | None = (0.0, 1.0)
    batch: int = _BATCH
    norm: str = "linf"
    against: Threat | None = None

    @property
    def verifier(self) -> str:
        return "ibp"

    @property
    def threat(self) -> Threat:
        return self.against or Threat(self.eps, self.norm, self.clip)

    def __call__(self, net: Network, data: Examples) -> Scores:
        if self.eps == 0 and net.plan.unbounded is not None:
            return self._clean(net, data)
        net.plan.boundable()
        counts = []
        with torch.no_grad(), exact_arithmetic():
            network, method = net.prepare(), Ibp()
            for start in range(0, len(data), self.batch):
                part = slice(start, start + self.batch)
                x, y = net.embed(data.inputs(part)).to(network.dtype), data.y[part]
                right = network.forward(x).argmax(1) == y
                plain = self.norm == "linf" and self.against is None
                ball = Box(x, self.eps, self.clip) if plain else self.threat.around(x)
                margins = least_margins(method, network, ball, robust(y, net.classes, network.dtype))
                counts.append(torch.stack((right, right & (margins > 0))).sum(1))
            clean, verified = (torch.stack(counts).sum(0).double() / len(data)).tolist()
        return Scores(clean, verified)

    def _clean(self, net: Network, data: Examples) -> Scores:
        """Of a network without bounds, where none was asked for."""
        with torch.no_grad():
            network = net.prepare()
            parts = [slice(start, start + self.batch) for start in range(0, len(data), self.batch)]
            right = [network.forward(net.embed(data.inputs(part)).to(network.dtype)).argmax(1) == data.y[part] for part in parts]
        return Scores(float(torch.cat(right).double().mean()), None)


@dataclass(frozen=True)
class NoisyAccuracy(Evaluation):
    """Clean accuracy, and the mean accuracy of the base classifier under the noise of smoothing, the same after every epoch.

    Attributes:
        sigma: scale of the noise: for Gaussian noise the standard deviation, in the units of the input.
        draws: of each input.
        seed: of the noise.
        batch: examples at a time.
        noise: any one of smoothing, by name.
        hidden: the value of pixels that an ablation hides.

    Sound: no, an estimate. `epsball certify` proves, with a stated probability of error.
    """

    sigma: float
    draws: int = 4
    seed: int = 0
    batch: int = _BATCH
    noise: str = "gaussian"
    hidden: float = 0.5

    @property
    def told(self) -> dict[str, Any]:
        return {"eps": None, "norm": "l2", "sigma": self.sigma, "noise": self.noise, "hidden": self.hidden}

    def copies(self, x: Float[Tensor, "B *x"], start: int) -> Float[Tensor, "m B *x"]:
        """Noisy copies of the examples from number `start` on."""
        if self.noise == "gaussian":
            return x + losses.noisy(x, self.sigma, self.draws, generator(x.device, self.seed, start))
        law = named(self.noise, self.sigma, self.hidden)
        seeds = self.seed + self.draws * torch.arange(start, start + len(x))
        return torch.stack([copies(law, x, seeds + draw) for draw in range(self.draws)])

    def __call__(self, net: Network, data: Examples) -> Scores:
        counts = []
        with torch.no_grad():
            network = net.prepare()
            for start in range(0, len(data), self.batch):
                part = slice(start, start + self.batch)
                x, y = data.inputs(part).to(network.dtype), data.y[part]
                logits = network.forward(self.copies(x, start).flatten(0, 1))
                right = network.forward(x).argmax(1) == y
                noisy = logits.view(self.draws, len(x), -1).argmax(2) == y
                counts.append(torch.stack((right.double().sum(), noisy.double().mean(0).sum())))
            clean, noisy_share = (torch.stack(counts).sum(0) / len(data)).tolist()
        return Scores(clean, None, noisy_share)


def judged_at(recipe: Recipe, config: TrainConfig, clip: tuple[float, float] | None) -> Evaluation:
    """How a run is judged: by the recipe's own method, or by intervals at the run's test radius, or else at the recipe's own.

    Raises:
        BadConfig: a test radius for a recipe that is judged under noise.
    """
    own = recipe.judge()
    if own is not None:
        if config.test_eps is None:
            return own
        raise BadConfig(
            f"this recipe is judged under noise by {type(own).__name__}: a test radius has no effect",
            where="train.test_eps",
            fix="leave it out",
        )
    threat = recipe.threat or Threat(0.0)
    if threat.kind in ("columns", "radii"):
        if config.test_eps is not None:
            raise BadConfig(
                "a recipe against columns, or radii of several channels, is judged by those: a test radius has no effect",
                where="train.test_eps",
                fix="leave it out",
            )
        return IbpAccuracy(threat.size, None, against=threat)
    return IbpAccuracy(float(threat.size if config.test_eps is None else config.test_eps), clip, norm=threat.norm)
