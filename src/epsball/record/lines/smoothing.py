"""The lines of randomized smoothing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from epsball.record.lines.analyses import Cells
from epsball.record.lines.base import Class, Count, Line, Radius, Share


class CertificateLine(Line):
    """What randomized smoothing certifies of one input."""

    kind: ClassVar[str] = "certificate"

    index: Count
    label: int
    predicted: int | None = None
    image: Count | None = None
    radius: Radius
    radii: dict[str, Radius] = {}
    norm: str = ""
    lower: Share
    upper: Share | None = None
    counts: list[Count] = []
    samples: Count
    selection: Count | None = None
    ledger: dict[str, float | None] = {}
    seconds: float | None = None


class SmoothAttackLine(Line):
    """An attack on the smoothed classifier, where its own answer is the label; `adversarial` is null for an abstention."""

    kind: ClassVar[str] = "smooth-attack"

    index: Count
    label: int
    predicted: int | None
    attacked: bool
    adversarial: int | None = None
    success: bool = False
    distance: float | None = None
    seconds: float | None = None


class RegionsLine(Line, Cells):
    """The base classifier's classes in a plane through one input, the votes of its noisy copies, and what they certify."""

    kind: ClassVar[str] = "regions"

    network: str
    model: str = ""
    data: str = ""
    index: Count
    label: int
    predicted: int | None = None
    smoothed: Class | None = None
    top: Class
    towards: Annotated[list[Class | None], Field(min_length=2, max_length=2)]
    noise: str = ""
    sigma: Annotated[float, Field(gt=0)]
    size: Annotated[int, Field(ge=1, le=2**53)]
    samples: Annotated[int, Field(ge=1, le=2**53)]
    selection: Count = 0
    alpha: Share
    votes: Annotated[list[Count], Field(min_length=2, max_length=10**6)]
    low: list[Share]
    high: list[Share]
    p_a: Share
    radius: Radius
    norm: str = ""

    @model_validator(mode="after")
    def _votes_fit(self) -> Self:
        if not len(self.votes) == len(self.low) == len(self.high):
            raise ValueError(f"{len(self.votes)} votes, {len(self.low)} lower and {len(self.high)} upper limits")
        if sum(self.votes) > self.samples:
            raise ValueError(f"{sum(self.votes)} votes of {self.samples} copies")
        if self.top >= len(self.votes):
            raise ValueError(f"class {self.top} is none of the {len(self.votes)} that votes were counted for")
        return self
