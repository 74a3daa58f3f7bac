"""The options of a run that are not the recipe's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from epsball.errors import BadConfig
from epsball.training.base import Progress
from epsball.training.schedule import Decay

if TYPE_CHECKING:
    from torch import nn

OptimizerName = Literal["adam", "sgd"]
Protocol = Literal["validation", "literature"]


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast, on what, and how the result is chosen.

    Attributes:
        epochs: passes over the training examples; the last incomplete batch of each is left out.
        batch: examples a step.
        optimizer: "adam" or "sgd".
        lr: learning rate.
        decay: factor of the learning rate at each milestone.
        milestones: in epochs.
        momentum: of sgd.
        weight_decay: added to the gradient (L2).
        clip_norm: largest global norm of the gradient.
        seed: of weights, order and dropout.
        protocol: "validation" holds examples out of the training set and selects the best epoch on them; "literature" trains on
            all and selects on the test set, which is what published numbers do and makes them too high.
        validation: share of the training set that is held out.
        log_every: steps between two lines of metrics.
        checkpoint_every: steps between two checkpoints; one more is written at the end of each epoch.

    Raises:
        BadConfig: a value out of range.
    """

    epochs: int = 10
    batch: int = 256
    optimizer: OptimizerName = "adam"
    lr: float = 5e-4
    decay: float = 0.2
    milestones: tuple[float, ...] = ()
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 10.0
    seed: int = 0
    protocol: Protocol = "validation"
    validation: float = 0.1
    log_every: int = 50
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise BadConfig(
                    f"{name} must be at least 1, not {getattr(self, name)}", where=f"train.{name}", fix="give 1 or more"
                )
        for name in ("optimizer", "protocol"):
            allowed = {"optimizer": ("adam", "sgd"), "protocol": ("validation", "literature")}[name]
            if getattr(self, name) not in allowed:
                raise BadConfig(f"unknown {name} {getattr(self, name)!r}", where=f"train.{name}", fix=f"use {' or '.join(allowed)}")
        for name in ("momentum", "weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise BadConfig(
                    f"{name} must be at least 0, not {getattr(self, name)}", where=f"train.{name}", fix="give 0 or more"
                )
        if not self.clip_norm > 0:
            raise BadConfig(
                f"clip_norm must be positive, not {self.clip_norm}", where="train.clip_norm", fix="use inf for no clipping"
            )
        if not 0 < self.validation < 1:
            raise BadConfig(
                f"validation must lie between 0 and 1, not {self.validation}",
                where="train.validation",
                fix="give a share such as 0.1",
            )
        self.rate()

    def rate(self) -> Decay:
        """The schedule of the learning rate."""
        return Decay(self.lr, self.decay, self.milestones)

    def held_out(self, examples: int) -> int:
        """How many training examples are kept for selection."""
        return max(1, round(self.validation * examples)) if self.protocol == "validation" else 0

    def run(self, examples: int) -> Progress:
        """The start of a run on that many training examples.

        Raises:
            BadConfig: there are fewer than one batch.
        """
        per_epoch = examples // self.batch
        if per_epoch == 0:
            raise BadConfig(
                f"a batch of {self.batch} from {examples} training examples", where="train.batch", fix="use a smaller batch"
            )
        return Progress(0, self.epochs * per_epoch, per_epoch)

    def make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a module's trainable parameters."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        if not parameters:
            raise BadConfig(
                "the network has no parameter to train", where=type(module).__name__, fix="give a network with trainable parameters"
            )
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
        return torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay, fused=fused)
