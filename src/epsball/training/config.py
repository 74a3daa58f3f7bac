"""The options of a run that are not the recipe's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from epsball.device import check_seed
from epsball.errors import BadConfig
from epsball.training.base import Progress
from epsball.training.curriculum import Measure, Pace, Paced
from epsball.training.precision import PRECISIONS, Precision
from epsball.training.replay import BACKENDS, Backend
from epsball.training.schedule import Decay

if TYPE_CHECKING:
    from torch import nn

OptimizerName = Literal["adam", "adamw", "radam", "sgd"]
Protocol = Literal["validation", "literature"]
Averaging = Literal["none", "swa", "ema"]


_NAMES = {
    "optimizer": ("adam", "adamw", "radam", "sgd"),
    "protocol": ("validation", "literature"),
    "average": ("none", "swa", "ema"),
    "curriculum": ("clock", "eps", "kappa", "both"),
    "precision": PRECISIONS,
    "compile": BACKENDS,
}


@dataclass(frozen=True)
class TrainConfig:
    """How long, how fast, on what, and how the result is chosen.

    Attributes:
        epochs: passes over the training examples; the last incomplete batch of each is left out.
        batch: examples a step.
        augment: mirror training pictures at random and move them by up to `crop` pixels.
        crop: pixels.
        optimizer: "adam", "adamw", "radam" or "sgd".
        lr: learning rate.
        decay: factor of the learning rate at each milestone.
        milestones: in epochs.
        momentum: of sgd.
        weight_decay: added to the gradient (L2); for "adamw" taken off the weights, times the learning rate.
        l1: weight of the sum of the absolute values of all weights of layers, in the loss.
        accumulate: parts that a batch is split into: the same step with less memory, but for batch norm, which sees the parts.
        clip_norm: largest global norm of the gradient.
        seed: of weights, order and dropout.
        protocol: "validation" holds examples out of the training set and selects the best epoch on them; "literature" trains on
            all and selects on the test set, which is what published numbers do and makes them too high.
        validation: share of the training set that is held out.
        test_eps: radius that epochs are judged and selected at; None: the recipe's own, which may be trained at a larger one.
        average: of the weights, judged and selected in their place: "none", "swa" or "ema"; batch-norm statistics are made anew.
        average_from: epoch at which the average begins.
        ema_decay: of "ema", a step.
        curriculum: what moves the ramp: "clock", or a measured target that moves "eps", "kappa" or "both"; see `Pace`.
        measure: the accuracy that has a target: "verified" or "clean".
        target: in [0, 1].
        stride: share of the ramp that an epoch on target moves.
        patience: epochs after which the ramp moves on all the same.
        certify_train: how many of the training examples the selected model is judged on at the end, drawn at random; 0: all.
        precision: of the training step: "float32", "tf32" or "bf16"; evaluation is always exact.
        compile: the backend of `torch.compile` for the loss, such as "inductor", or "none".
        cuda_graph: record a whole step as a CUDA graph and play it again: for small networks, whose steps are many small kernels.
        log_every: steps between two lines of metrics.
        checkpoint_every: steps between two checkpoints; one more is written at the end of each epoch.

    Raises:
        BadConfig: a value out of range.
    """

    epochs: int = 10
    batch: int = 256
    augment: bool = False
    crop: int = 2
    optimizer: OptimizerName = "adam"
    lr: float = 5e-4
    decay: float = 0.2
    milestones: tuple[float, ...] = ()
    momentum: float = 0.9
    weight_decay: float = 0.0
    l1: float = 0.0
    accumulate: int = 1
    clip_norm: float = 10.0
    seed: int = 0
    protocol: Protocol = "validation"
    validation: float = 0.1
    test_eps: float | None = None
    average: Averaging = "none"
    average_from: float = 0.0
    ema_decay: float = 0.999
    curriculum: Literal["clock"] | Paced = "clock"
    measure: Measure = "verified"
    target: float = 0.5
    stride: float = 0.1
    patience: int = 3
    certify_train: int = 1000
    precision: Precision = "float32"
    compile: Backend = "none"
    cuda_graph: bool = False
    log_every: int = 50
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise BadConfig(
                    f"{name} must be at least 1, not {getattr(self, name)}", where=f"train.{name}", fix="give 1 or more"
                )
        for name, allowed in _NAMES.items():
            if getattr(self, name) not in allowed:
                raise BadConfig(f"unknown {name} {getattr(self, name)!r}", where=f"train.{name}", fix=f"use {' or '.join(allowed)}")
        for name in ("momentum", "weight_decay", "l1", "crop", "average_from", "certify_train"):
            if not getattr(self, name) >= 0:
                raise BadConfig(
                    f"{name} must be at least 0, not {getattr(self, name)}", where=f"train.{name}", fix="give 0 or more"
                )
        check_seed(self.seed, "train.seed")
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
        if not 0 <= self.ema_decay < 1:
            raise BadConfig(
                f"ema_decay must lie in [0, 1), not {self.ema_decay}", where="train.ema_decay", fix="give a decay such as 0.999"
            )
        self._check_more()

    def _check_more(self) -> None:
        if self.test_eps is not None and not 0 <= self.test_eps < float("inf"):
            raise BadConfig(
                f"test_eps must be at least 0, not {self.test_eps}", where="train.test_eps", fix="give a radius such as 8/255"
            )
        if self.batch % self.accumulate:
            raise BadConfig(
                f"a batch of {self.batch} cannot be split into {self.accumulate} equal parts",
                where="train.accumulate",
                fix="use a divisor of the batch",
            )
        if self.average != "none" and self.average_from >= self.epochs:
            raise BadConfig(
                f"the average begins at epoch {self.average_from:g}, and the run has {self.epochs}",
                where="train.average_from",
                fix="begin earlier, or train for more epochs",
            )
        if self.cuda_graph and (self.optimizer == "sgd" or self.compile != "none"):
            raise BadConfig(
                "a CUDA graph records steps of adam, adamw or radam that are not compiled",
                where="train.cuda_graph",
                fix="use one of those optimizers and compile = none, or cuda_graph = false",
            )
        self.rate()
        Pace("both", *self._paced())  # its options are checked whether or not it is used

    def pace(self) -> Pace | None:
        """The curriculum that waits for a target, if there is one."""
        if self.curriculum == "clock":
            return None
        return Pace(self.curriculum, *self._paced())

    def _paced(self) -> tuple[Measure, float, float, int]:
        return self.measure, self.target, self.stride, self.patience

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
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "radam": torch.optim.RAdam}[self.optimizer]
        options: dict[str, Any] = {"weight_decay": self.weight_decay}
        if self.optimizer != "radam":
            options["fused"] = all(p.device.type in ("cpu", "cuda") for p in parameters)
        lr: float | torch.Tensor = self.lr
        if self.cuda_graph:
            lr, options["capturable"] = torch.tensor(lr, device=parameters[0].device), True
        made: torch.optim.Optimizer = kind(parameters, lr, **options)
        return made
