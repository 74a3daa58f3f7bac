"""The lines of a run record as typed values. A record is untrusted: every line is checked before anything is drawn from it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Status = Literal["verified", "falsified", "unknown", "timeout", "error"]
STATUSES: tuple[Status, ...] = ("verified", "falsified", "unknown", "timeout", "error")


class Line(BaseModel):
    """A line of a record: strict types, finite numbers, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Header(Line):
    """What is needed to run it again."""

    verb: str
    command: list[str] = []
    config: dict[str, Any] = {}
    config_hash: str = ""
    versions: dict[str, str] = {}
    seed: int | None = None
    hardware: dict[str, Any] = {}
    arithmetic: str = ""
    time: str = ""


class Metrics(Line):
    """One training step."""

    step: Count
    lr: float | None = None
    eps: float | None = None
    loss: float | None = None
    parts: dict[str, float | None] = {}


class Epoch(Line):
    """Accuracies after an epoch."""

    epoch: float
    step: Count
    clean: Share | None = None
    verified: Share | None = None
    verifier: str = ""
    split: str = ""


class ReluShares(Line):
    """Shares of a layer's neurons: always on, always off, or either."""

    name: str
    active: Share
    inactive: Share
    unstable: Share


class Relu(Line):
    """The ReLUs of every layer after an epoch."""

    epoch: float
    layers: list[ReluShares]


class Instance(Line):
    """What is known of one input."""

    index: Count
    label: int
    predicted: int | None = None
    status: Status
    by: str = ""
    margin: float | None = None
    bounds: dict[str, float | None] = {}
    attacked_margin: float | None = None
    seconds: float | None = None


class Witness(Line):
    """An adversarial example with its own input; `x` and `adversarial` are flat, in the order of `shape`."""

    index: Count
    label: int
    predicted: int | None = None
    shape: list[Annotated[int, Field(gt=0)]]
    x: list[float]
    adversarial: list[float]
    margin: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not len(self.x) == len(self.adversarial) == math.prod(self.shape):
            raise ValueError(f"{len(self.x)} and {len(self.adversarial)} values do not fill the shape {self.shape}")
        return self


class Layer(Line):
    """Bounds of one layer by one method."""

    name: str
    op: str = ""
    method: str
    neurons: Count
    width: float | None = None
    active: Share | None = None
    inactive: Share | None = None
    unstable: Share | None = None
    seconds: float | None = None


class Rate(Line):
    """A share with its 95 % confidence limits."""

    value: Share
    low: Share
    high: Share


class Step(Line):
    """One step of a ladder of methods."""

    name: str
    settled: Count
    verified: Count = 0
    falsified: Count = 0
    seconds: float | None = None


class Summary(Line):
    """The numbers of a whole run."""

    verb: str
    model: str = ""
    data: str = ""
    count: Count | None = None
    eps: float | None = None
    norm: str = ""
    accuracy: dict[str, Rate] = {}
    verified_by: dict[str, Rate] = {}
    steps: list[Step] = []
    status: dict[Status, Count] = {}
    seconds: float | None = None


KINDS: dict[str, type[Line]] = {
    "header": Header,
    "metrics": Metrics,
    "epoch": Epoch,
    "relu": Relu,
    "instance": Instance,
    "witness": Witness,
    "layer": Layer,
    "summary": Summary,
}
