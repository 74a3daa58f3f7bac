"""Plain training: the baseline of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn.functional import cross_entropy

from epsball.training.base import Batch, Loss, Progress, Recipe, recipes
from epsball.training.initialise import initialisations, initialise
from epsball.training.parallel_batch import whole_batch

if TYPE_CHECKING:
    from epsball.ops.network import Network


@recipes.register("standard")
@dataclass(frozen=True)
class Standard(Recipe):
    """Cross-entropy of the module itself in training mode: dropout is active, batch norm updates its own statistics.

    Attributes:
        initialisation: see `epsball.training.initialise`.

    Raises:  BadConfig for an unknown initialisation.
    """

    initialisation: str = "default"

    def __post_init__(self) -> None:
        initialisations[self.initialisation]

    def initialise(self, net: Network) -> None:
        initialise(self.initialisation)(net)

    def knobs(self, at: Progress) -> dict[str, float]:
        """Nothing in this loss changes from step to step."""
        return {}

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        with whole_batch():
            total = cross_entropy(net.module(batch.x), batch.y)
        return Loss(total, {"natural": total.detach()})
