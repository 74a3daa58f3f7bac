"""What a run measures of itself once an epoch: accuracies on held-out examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from epsball.device import exact_arithmetic, tolerance
from epsball.spec.sets import Box
from epsball.training.margins import Bounded

if TYPE_CHECKING:
    from epsball.graph.network import Network
    from epsball.training.base import Examples

_BATCH = 512


class Scores(NamedTuple):
    """Accuracies in [0, 1]; no verified input is counted that is not also classified rightly."""

    clean: float
    verified: float


class Evaluation(Protocol):
    """How a run judges itself: a frozen dataclass whose fields are its options."""

    @property
    def verifier(self) -> str:
        """The name of the verifier behind `Scores.verified`."""
        ...

    def __call__(self, net: Network, data: Examples) -> Scores:
        """Accuracies with the running batch-norm statistics."""
        ...


@dataclass(frozen=True)
class IbpAccuracy:
    """Clean accuracy, and the share that interval bounds verify.

    Attributes:
        eps: radius in the units of the input.
        clip: valid range of the inputs, or None.
        batch: examples at a time.

    Sound: yes, up to floating point; the box is rounded outwards, as in verification.
    """

    eps: float
    clip: tuple[float, float] | None = (0.0, 1.0)
    batch: int = _BATCH

    @property
    def verifier(self) -> str:
        return "ibp"

    def __call__(self, net: Network, data: Examples) -> Scores:
        counts = []
        with torch.no_grad(), exact_arithmetic():
            network = net.prepare()
            least = tolerance(network.dtype)
            for start in range(0, len(data), self.batch):
                part = slice(start, start + self.batch)
                x, y = net.embed(data.inputs(part)).to(network.dtype), data.y[part]
                right = network.forward(x).argmax(1) == y
                worst = Bounded.over(network, Box(x, self.eps, self.clip).hull()).worst_logits(y)
                others = worst.scatter(1, y[:, None], -torch.inf)
                counts.append(torch.stack((right, right & (others < -least).all(1))).sum(1))
            clean, verified = (torch.stack(counts).sum(0).double() / len(data)).tolist()
        return Scores(clean, verified)
