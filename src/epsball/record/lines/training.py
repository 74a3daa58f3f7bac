"""The lines of a training run."""

from __future__ import annotations

from typing import ClassVar

from epsball.record.lines.base import Count, Line, Radius, Share, Values


class MetricsLine(Line):
    """Means over the steps since the last such line."""

    kind: ClassVar[str] = "metrics"

    step: Count
    epoch: float | None = None
    lr: float | None = None
    eps: float | None = None
    loss: float | None = None
    parts: dict[str, float | None] = {}
    seconds: float | None = None


class EpochLine(Line):
    """Accuracies after an epoch."""

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
    """Shares of a layer's neurons: always on, always off, or either."""

    name: str
    active: Share
    inactive: Share
    unstable: Share
    neurons: Count = 0


class ReluLine(Line):
    """The ReLUs of every layer after an epoch."""

    kind: ClassVar[str] = "relu"

    epoch: float
    layers: list[ReluShares]
    eps: float | None = None


class LayerSpread(Values):
    """How wide the bounds of a layer are, and how far its clean values spread."""

    name: str
    width: float | None
    spread: float | None


class TightnessLine(Line):
    """The bounds of every layer after an epoch (0: before the first step), at one radius for the whole run."""

    kind: ClassVar[str] = "tightness"

    epoch: float
    step: Count = 0
    eps: Radius
    input: float | None
    layers: list[LayerSpread]


class ResumeLine(Line):
    """The run went on from the checkpoint of this step; lines of later steps before it no longer count."""

    kind: ClassVar[str] = "resume"

    step: Count
