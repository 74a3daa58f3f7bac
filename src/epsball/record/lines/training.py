"""The lines of a training run."""

from __future__ import annotations

from typing import ClassVar

from epsball.record.lines.base import Count, Line, Radius, Share, Values


class MetricsLine(Line):
    """Means over the steps since the last such line.

    Attributes:
        step: the last of them.
        epoch: where the run stands.
        lr: learning rate at this step.
        eps: radius at this step.
        loss: the total.
        parts: the recipe's parts of it, by name.
        seconds: since the start.
    """

    kind: ClassVar[str] = "metrics"

    step: Count
    epoch: float | None = None
    lr: float | None = None
    eps: float | None = None
    loss: float | None = None
    parts: dict[str, float | None] = {}
    seconds: float | None = None


class EpochLine(Line):
    """Accuracies after an epoch.

    Attributes:
        epoch: which one ended.
        step: its last one.
        clean: accuracy.
        verified: verified accuracy, by `verifier`; a recipe for smoothing has none.
        noisy: mean accuracy under the recipe's noise instead: an estimate, no proof.
        verifier: `ibp`, or empty.
        split: `validation`, or `test` under the protocol `literature`.
        best: whether this epoch was the best one so far, among those at the full radius.
        seconds: since the start.
    """

    kind: ClassVar[str] = "epoch"

    epoch: float
    step: Count
    clean: Share | None = None
    verified: Share | None = None
    noisy: Share | None = None
    verifier: str = ""
    split: str = ""
    best: bool = False
    seconds: float | None = None


class ReluShares(Values):
    """Shares of a layer's neurons: always on, always off, or either.

    Attributes:
        name: of the layer.
        active: always on.
        inactive: always off.
        unstable: either.
        neurons: how many.
    """

    name: str
    active: Share
    inactive: Share
    unstable: Share
    neurons: Count = 0


class ReluLine(Line):
    """The ReLUs of every layer after an epoch.

    Attributes:
        epoch: which one ended.
        layers: one entry a layer.
        eps: the radius in force then.
    """

    kind: ClassVar[str] = "relu"

    epoch: float
    layers: list[ReluShares]
    eps: float | None = None


class LayerSpread(Values):
    """How wide the bounds of a layer are, and how far its clean values spread.

    Attributes:
        name: of the layer.
        width: mean of upper minus lower of what enters the ReLU.
        spread: deviation of its clean values over the batch, as a mean square over neurons.
    """

    name: str
    width: float | None
    spread: float | None


class TightnessLine(Line):
    """The bounds of every layer after an epoch (0: before the first step), at one radius for the whole run.

    Interval bounds on the same batch of held-out examples in every epoch.

    Attributes:
        epoch: after which one; 0 is the network before its first step.
        step: the last one of that epoch.
        eps: the radius that the run is judged at; a run without one has no such lines.
        input: mean width of the box as the first layer sees it, after clipping and normalisation.
        layers: one entry a layer.
    """

    kind: ClassVar[str] = "tightness"

    epoch: float
    step: Count = 0
    eps: Radius
    input: float | None
    layers: list[LayerSpread]


class ResumeLine(Line):
    """The run went on from the checkpoint of this step; lines of later steps before it no longer count.

    Attributes:
        step: of the checkpoint. `metrics`, `epoch`, `relu` and `tightness` lines before this one that belong to a later step no
            longer count: the same steps follow again.
    """

    kind: ClassVar[str] = "resume"

    step: Count
