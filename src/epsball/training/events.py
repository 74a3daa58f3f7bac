"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.training.layers import Census, Tightness

if TYPE_CHECKING:
    from collections.abc import Callable

    from epsball.examples import Examples
    from epsball.training.evaluate import Scores
    from epsball.training.state import Selected, TrainState


@dataclass(frozen=True)
class Metrics:
    """Means since the last one.

    Attributes:
        step: steps done.
        epoch: the same, in epochs.
        lr: learning rate of the last step.
        eps: radius of the last step.
        loss: what was minimised.
        parts: its terms, before their weights.
        seconds: of the run so far.
    """

    step: int
    epoch: float
    lr: float
    eps: float
    loss: float
    parts: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch (counted from 1): accuracies on the held-out examples, whose name is `split`."""

    epoch: int
    step: int
    scores: Scores
    verifier: str
    split: str
    best: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Stepped:
    """After each step and all that belongs to it: the moment at which a run may be stopped.

    Attributes:
        step: steps done.
        due: whether a checkpoint is due.
        snapshot: makes the state of the run; only before the next event is asked for.
    """

    step: int
    due: bool
    snapshot: Callable[[], TrainState]


@dataclass(frozen=True, eq=False)
class Finished:
    """The end: the module holds the weights of the selected epoch.

    Attributes:
        selected: that epoch.
        held: examples it was selected on.
        split: their name.
        verifier: behind its verified accuracy.
        seconds: of the run.
        trained: the examples that were trained on, on the network's device.
    """

    selected: Selected
    held: int
    split: str
    verifier: str
    seconds: float
    trained: Examples


Event = Metrics | Epoch | Census | Tightness | Stepped | Finished
