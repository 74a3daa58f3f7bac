"""The lines of analyses: layers, planes, radii, pictures, estimates, the convex barrier."""

from __future__ import annotations

import base64
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from epsball.record.lines.base import Class, Count, Line, Radius, Share, Size, Values, filled

Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class LayerLine(Line):
    """Bounds of one layer by one method."""

    kind: ClassVar[str] = "layer"

    name: str
    op: str = ""
    method: str
    neurons: Count
    width: float | None = None
    active: Share | None = None
    inactive: Share | None = None
    unstable: Share | None = None
    seconds: float | None = None
    peak_bytes: Count | None = None


class Cells(Values):
    """Classes that fill a square grid over a window (left, right, bottom, top), row after row from the bottom."""

    window: Annotated[list[float], Field(min_length=4, max_length=4)]
    resolution: Annotated[int, Field(ge=1, le=1000)]
    classes: list[Class]

    @model_validator(mode="after")
    def _cells_fit(self) -> Self:
        if len(self.classes) != self.resolution**2:
            raise ValueError(f"{len(self.classes)} classes do not fill {self.resolution} by {self.resolution} cells")
        left, right, bottom, top = self.window
        if not (left < right and bottom < top):
            raise ValueError("the window is empty")
        return self


class PlaneLine(Line, Cells):
    """What a network makes of a plane through three inputs."""

    kind: ClassVar[str] = "plane"

    network: str
    model: str = ""
    data: str = ""
    index: list[Count]
    labels: Annotated[list[int], Field(min_length=3, max_length=3)]
    predicted: list[int] = []
    verified: Annotated[list[bool], Field(min_length=3, max_length=3)]
    verifier: str = ""
    eps: float
    points: Annotated[list[Point], Field(min_length=3, max_length=3)]
    traces: Annotated[list[Annotated[list[Point], Field(min_length=1)]], Field(min_length=3, max_length=3)]
    valid: Annotated[list[Point], Field(min_length=1)] | None = None


class CertifiedBox(Values):
    """A certified box with a radius of its own for each input element, flat in the order of `shape`."""

    uniform: Radius
    gain: float | None = None
    narrowest: Radius
    widest: Radius
    shape: list[Size]
    radius: list[Radius]
    x: list[float] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        filled(self.radius, self.shape, "radii")
        if self.x is not None:
            filled(self.x, self.shape, "inputs")
        return self


class RadiusLine(Line):
    """Certified radii of one input, by method; `done`, or `misclassified` without any perturbation."""

    kind: ClassVar[str] = "radius"

    index: Count
    label: int
    predicted: int
    status: Literal["done", "misclassified"]
    radii: dict[str, Radius]
    seconds: dict[str, Radius] = {}
    box: CertifiedBox | None = None


class PictureLine(Line):
    """A picture of a group that is shown side by side: rows and columns of it have names; pixels are base64 of uint8, (C, H, W)."""

    kind: ClassVar[str] = "picture"

    group: str
    row: str
    column: str
    shape: Annotated[list[Annotated[int, Field(gt=0, le=4096)]], Field(min_length=3, max_length=3)]
    pixels: str
    note: str = ""

    @property
    def values(self) -> bytes:
        """The pixels, checked when the line was made."""
        return base64.b64decode(self.pixels, validate=True)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.shape[0] not in (1, 3):
            raise ValueError(f"{self.shape[0]} channels: a picture has 1 or 3")
        filled(list(self.values), self.shape, "pixels")
        return self


class EstimateLine(Line):
    """What sampling says of one input. Nothing here is proven."""

    kind: ClassVar[str] = "estimate"

    index: Count
    label: int
    status: Literal["estimate"]
    least: float | None
    outputs: list[Annotated[list[float | None], Field(min_length=2, max_length=2)]]
    lipschitz: float | None
    radius: Radius | None
    seconds: float | None = None


class BarrierLine(Line):
    """The chain of margins of one input, from CROWN to the attack.

    Attributes:
        exact: whether the LP-tight bound is attained.
        gap: between the attack and CROWN.
        barrier: the part of it that no relaxation of single neurons closes.
        unstable: units of the relaxation.
    """

    kind: ClassVar[str] = "barrier"

    index: Count
    label: int
    status: Literal["done", "misclassified", "timeout"]
    margins: dict[str, float | None]
    exact: bool | None = None
    gap: float | None = None
    barrier: float | None = None
    unstable: Count | None = None
    seconds: dict[str, float | None] = {}
