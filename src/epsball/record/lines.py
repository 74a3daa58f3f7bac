"""The lines of a run record as typed values. A record is untrusted: every line is checked before anything is drawn from it."""

from __future__ import annotations

import base64
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Real = Annotated[float, Field(ge=-1e30, le=1e30)]  # what axes can be drawn for
Radius = Annotated[float, Field(ge=0, le=1e30)]
Status = Literal["verified", "misclassified", "falsified", "unknown", "timeout", "error"]
STATUSES: tuple[Status, ...] = ("verified", "misclassified", "falsified", "unknown", "timeout", "error")


class Line(BaseModel):
    """A line of a record: strict types, finite numbers, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Header(Line):
    """What is needed to run it again."""

    verb: str
    command: list[str] = []
    config: dict[str, Any] = {}
    config_hash: str = ""
    identity: dict[str, str | None] = {}
    code: dict[str, str | bool | None] = {}
    anyway: list[str] = []
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
    neurons: Count = 0


class Relu(Line):
    """The ReLUs of every layer after an epoch."""

    epoch: Real
    layers: list[ReluShares]


class LayerWidth(Line):
    """How wide the bounds of a layer are, and how far its clean values spread."""

    name: str
    width: Real
    spread: Real


class Tightness(Line):
    """The bounds of every layer after an epoch (0: before the first step), at one radius for the whole run."""

    epoch: Real
    eps: Real
    input: Real
    layers: list[LayerWidth]


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


def _check_cells(classes: list[int], resolution: int, window: list[float]) -> None:
    if len(classes) != resolution**2:
        raise ValueError(f"{len(classes)} classes do not fill {resolution} by {resolution} cells")
    left, right, bottom, top = window
    if not (left < right and bottom < top):
        raise ValueError("the window is empty")


Point = Annotated[list[Real], Field(min_length=2, max_length=2)]
Class = Annotated[int, Field(ge=0, le=10**6)]


class PlaneLine(Line):
    """What a network makes of a plane through three inputs; `classes` fills a square grid, row after row from the bottom."""

    network: str
    data: str = ""
    index: list[Count]
    labels: Annotated[list[int], Field(min_length=3, max_length=3)]
    verified: Annotated[list[bool], Field(min_length=3, max_length=3)]
    verifier: str = ""
    eps: Real
    points: Annotated[list[Point], Field(min_length=3, max_length=3)]
    window: Annotated[list[Real], Field(min_length=4, max_length=4)]
    resolution: Annotated[int, Field(ge=1, le=1000)]
    classes: list[Class]
    traces: Annotated[list[Annotated[list[Point], Field(min_length=1)]], Field(min_length=3, max_length=3)]
    valid: Annotated[list[Point], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_cells(self.classes, self.resolution, self.window)
        return self


class Rate(Line):
    """A share with its 95 % confidence limits, and its deviation where it is a mean over runs."""

    value: Share
    low: Share
    high: Share
    std: Share | None = None


class Part(Line):
    """A trained model on one part of the data."""

    clean: Rate
    verified: Rate | None = None
    noisy: Rate | None = None
    count: Count
    of: Count
    verifier: str = ""


class Certificate(Line):
    """What randomized smoothing certifies of one input."""

    index: Count
    label: int
    predicted: int | None = None
    radius: Radius
    norm: str = ""
    lower: Share
    samples: Count
    seconds: Real | None = None


class Box(Line):
    """A certified box with a radius of its own for each input element, flat in the order of `shape`."""

    uniform: Radius
    gain: Real | None = None
    narrowest: Radius
    widest: Radius
    shape: list[Annotated[int, Field(gt=0)]]
    radius: list[Radius]
    x: list[Real] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = math.prod(self.shape)
        if len(self.radius) != size or (self.x is not None and len(self.x) != size):
            raise ValueError(f"{len(self.radius)} radii do not fill the shape {self.shape}, or the input does not")
        return self


class RadiusLine(Line):
    """Certified radii of one input, by method; `done`, or `misclassified` without any perturbation."""

    index: Count
    label: int
    predicted: int
    status: Literal["done", "misclassified"]
    radii: dict[str, Radius]
    seconds: dict[str, Radius] = {}
    box: Box | None = None


class RegionsLine(Line):
    """The base classifier's classes in a plane through one input, the votes of its noisy copies, and what they certify."""

    network: str
    data: str = ""
    index: Count
    label: int
    smoothed: Class | None = None
    top: Class
    towards: Annotated[list[Class | None], Field(min_length=2, max_length=2)]
    noise: str = ""
    sigma: Annotated[float, Field(gt=0, le=1e30)]
    size: Annotated[int, Field(ge=1, le=2**53)]
    samples: Annotated[int, Field(ge=1, le=2**53)]
    alpha: Share
    votes: Annotated[list[Count], Field(min_length=2, max_length=10**6)]
    low: list[Share]
    high: list[Share]
    p_a: Share
    radius: Radius
    norm: str = ""
    window: Annotated[list[Real], Field(min_length=4, max_length=4)]
    resolution: Annotated[int, Field(ge=1, le=1000)]
    classes: list[Class]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_cells(self.classes, self.resolution, self.window)
        if not len(self.votes) == len(self.low) == len(self.high):
            raise ValueError(f"{len(self.votes)} votes, {len(self.low)} lower and {len(self.high)} upper limits")
        if sum(self.votes) > self.samples:
            raise ValueError(f"{sum(self.votes)} votes of {self.samples} copies")
        if self.top >= len(self.votes):
            raise ValueError(f"class {self.top} is none of the {len(self.votes)} that votes were counted for")
        return self


class Shown(Line):
    """A picture of a group that is shown side by side: rows and columns of it have names; pixels are base64 of uint8, (C, H, W)."""

    group: str
    row: str
    column: str
    shape: Annotated[list[Annotated[int, Field(gt=0, le=4096)]], Field(min_length=3, max_length=3)]
    pixels: str
    note: str = ""

    @property
    def values(self) -> bytes:
        """The pixels, checked when the line was read."""
        return base64.b64decode(self.pixels, validate=True)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.shape[0] not in (1, 3):
            raise ValueError(f"{self.shape[0]} channels: a picture has 1 or 3")
        if len(self.values) != math.prod(self.shape):
            raise ValueError(f"{len(self.values)} pixels do not fill the shape {self.shape}")
        return self


class Step(Line):
    """One step of a ladder of methods."""

    name: str
    settled: Count
    verified: Count = 0
    misclassified: Count = 0
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
    protocol: str = ""
    split: str = ""
    splits: dict[str, Part] = {}
    noise: str | None = None
    alpha: Share | None = None
    abstained: Share | None = None
    average_radius: dict[str, Real] = {}


KINDS: dict[str, type[Line]] = {
    "header": Header,
    "metrics": Metrics,
    "epoch": Epoch,
    "relu": Relu,
    "tightness": Tightness,
    "resume": Resume,
    "instance": Instance,
    "witness": Witness,
    "layer": Layer,
    "plane": PlaneLine,
    "certificate": Certificate,
    "radius": RadiusLine,
    "regions": RegionsLine,
    "picture": Shown,
    "summary": Summary,
}
