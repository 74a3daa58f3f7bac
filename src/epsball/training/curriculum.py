"""A curriculum that waits for the network: the ramp goes on when a measured accuracy reaches its target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from epsball.errors import BadConfig
from epsball.training.base import Progress

Measure = Literal["verified", "clean"]
Paced = Literal["eps", "kappa", "both"]


@dataclass(frozen=True)
class Pace:
    """After each epoch the ramp moves on by one stride if the held-out accuracy at the radius in force has reached the target.

    After `patience` epochs in one place it moves on all the same, so that the run is certain to reach the full radius.

    Attributes:
        paced: what follows the target: "eps", "kappa" (and beta with it) or "both"; the rest keeps the clock.
        measure: "verified" or "clean".
        target: accuracy in [0, 1].
        stride: share of the ramp.
        patience: epochs, at least 1.

    Raises:
        BadConfig: a value out of range.
    """

    paced: Paced = "both"
    measure: Measure = "verified"
    target: float = 0.5
    stride: float = 0.1
    patience: int = 3

    def __post_init__(self) -> None:
        if self.paced not in ("eps", "kappa", "both") or self.measure not in ("verified", "clean"):
            raise BadConfig(
                f"no curriculum of {self.paced!r} by {self.measure!r} accuracy",
                where="train.pace",
                fix="pace eps, kappa or both by verified or clean accuracy",
            )
        if not (0 <= self.target <= 1 and 0 < self.stride <= 1 and self.patience >= 1):
            raise BadConfig(
                "a curriculum needs a target in [0, 1], a stride in (0, 1] and a patience of at least 1 epoch",
                where="train.target, train.stride, train.patience",
                fix="such as target = 0.5, stride = 0.1, patience = 3",
            )

    def check(self, run: Progress, warmup: float) -> None:
        """Raise unless the run reaches the end of the ramp whatever is measured.

        Raises:
            BadConfig: it may end before.
        """
        longest = warmup + self.patience * math.ceil(round(1 / self.stride, 9))
        if longest > run.steps / run.per_epoch - 1:
            raise BadConfig(
                f"the curriculum may take {longest:g} epochs, and one more is needed at the full radius",
                where="train.stride, train.patience",
                fix="train for more epochs, or use a longer stride or less patience",
            )

    def start(self, run: Progress) -> Progress:
        """The progress at which the run begins."""
        return replace(run, share=0.0, paced=self.paced, waited=0)

    def after(self, at: Progress, measured: float, warmup: float) -> Progress:
        """Where the ramp stands after an epoch.

        Args:
            at: progress at the end of the epoch.
            measured: the accuracy.
            warmup: epochs at the start in which the ramp does not move.
        """
        if at.share is None or at.share >= 1 or at.epoch <= warmup - 1e-9:
            return at
        waited = at.waited + 1
        if measured < self.target and waited < self.patience:
            return replace(at, waited=waited)
        return replace(at, share=min(1.0, round(at.share + self.stride, 9)), waited=0)
