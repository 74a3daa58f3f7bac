"""The lines of a run record as typed values. A record is untrusted: every line is checked before anything is drawn from it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Real = Annotated[float, Field(ge=-1e30, le=1e30)]  # what axes can be drawn for
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
    lr: Real | None = None
    eps: Real | None = None
    loss: Real | None = None
    parts: dict[str, Real | None] = {}


class Epoch(Line):
    """Accuracies after an epoch."""

    epoch: Real
    step: Count
    clean: Share | None = None
    verified: Share | None = None
    noisy: Share | None = None
    verifier: str = ""
    split: str = ""
    best: bool = False


class ReluShares(Line):
    """Shares of a layer's neurons: always on, always off, or either."""

    name: str
    active: Share
    inactive: Share
    unstable: Share


class Relu(Line):
    """The ReLUs of every layer after an epoch."""

    epoch: Real
    layers: list[ReluShares]


class Resume(Line):
    """A training run went on from the checkpoint of this step; lines of later steps before it no longer count."""

    step: Count


class Instance(Line):
    """What is known of one input."""

    index: Count
    label: int
    predicted: int | None = None
    status: Status
    by: str = ""
    margin: Real | None = None
    bounds: dict[str, Real | None] = {}
    attacked_margin: Real | None = None
    seconds: Real | None = None
    note: str = ""


class Witness(Line):
    """An adversarial example with its own input; `x` and `adversarial` are flat, in the order of `shape`."""

    index: Count
    label: int
    predicted: int | None = None
    shape: list[Annotated[int, Field(gt=0)]]
    x: list[Real]
    adversarial: list[Real]
    margin: Real | None = None

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
    width: Real | None = None
    active: Share | None = None
    inactive: Share | None = None
    unstable: Share | None = None
    seconds: Real | None = None


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
    seconds: Real | None = None


class Summary(Line):
    """The numbers of a whole run."""

    verb: str
    model: str = ""
    data: str = ""
    count: Count | None = None
    eps: Real | None = None
    norm: str = ""
    accuracy: dict[str, Rate] = {}
    verified_by: dict[str, Rate] = {}
    steps: list[Step] = []
    status: dict[Status, Count] = {}
    seconds: Real | None = None


KINDS: dict[str, type[Line]] = {
    "header": Header,
    "metrics": Metrics,
    "epoch": Epoch,
    "relu": Relu,
    "resume": Resume,
    "instance": Instance,
    "witness": Witness,
    "layer": Layer,
    "summary": Summary,
}
