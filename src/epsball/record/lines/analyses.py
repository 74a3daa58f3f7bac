"""The lines of analyses: layers, planes, radii, pictures, estimates, the convex barrier."""

from __future__ import annotations

import base64
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from epsball.record.lines.base import Class, Count, Line, Radius, Share, Size, Values, filled

Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class LayerLine(Line):
    """Bounds of one layer by one method.

    Attributes:
        name: of the node.
        op: its operator.
        method: `ibp`, `crown`, or another method of `epsball bounds`.
        neurons: how many.
        width: mean of upper minus lower.
        active: share of neurons and samples whose lower bound is at least 0.
        inactive: share whose upper bound is at most 0.
        unstable: share of the rest.
        seconds: of the method on all layers.
        peak_bytes: of the method, on a GPU only.
    """

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


class ClassGrid(Values):
    """Classes that fill a square grid over a window (left, right, bottom, top), row after row from the bottom.

    Attributes:
        window: left, right, bottom and top of the square.
        resolution: its cells a side.
        classes: of the centres of the cells, row after row from the bottom.
    """

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


class PlaneLine(Line, ClassGrid):
    """What a network makes of a plane through three inputs.

    Attributes:
        network: its name in the figure.
        model: the run folder or checkpoint it came from.
        data: the data set.
        index: of the three test inputs.
        labels: of each input.
        predicted: what the network makes of each.
        verified: whether `verifier` proves the whole ball around each.
        verifier: what proves.
        eps: radius of the balls.
        points: where the inputs lie: Euclidean coordinates, the first is (0, 0).
        traces: for each input the corners of what the plane shows of its linf ball, cut to the valid range.
        valid: corners of what the plane shows of the valid range.
    """

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
    """A certified box with a radius of its own for each input element, flat in the order of `shape`.

    Attributes:
        uniform: the radius it began at.
        gain: geometric-mean width over the uniform one, minus 1; null without a uniform radius.
        narrowest: the least radius.
        widest: the largest one.
        shape: of the input.
        radius: of each element, rounded down.
        x: the input; of the first twelve boxes of a run.
    """

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
    """Certified radii of one input, by method; `done`, or `misclassified` without any perturbation.

    Attributes:
        index: in the test set.
        label: its class.
        predicted: without perturbation.
        status: `misclassified` is without any perturbation.
        radii: by method: 0 where nothing is proven and for what is misclassified.
        seconds: by method: of its chunk, divided by the examples in it.
        box: with `--box`.
    """

    kind: ClassVar[str] = "radius"

    index: Count
    label: int
    predicted: int
    status: Literal["done", "misclassified"]
    radii: dict[str, Radius]
    seconds: dict[str, Radius] = {}
    box: CertifiedBox | None = None


class PictureLine(Line):
    """A picture of a group that is shown side by side: rows and columns of it have names; pixels are base64 of uint8, (C, H, W).

    Attributes:
        group: its title.
        row: the picture's place.
        column: the picture's place.
        shape: channels, height, width.
        pixels: base64 of them.
        note: below the picture.
    """

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
    """What sampling says of one input. Nothing here is proven.

    Attributes:
        index: in the test set.
        label: its class.
        status: no status of a verdict: no summary counts it.
        least: the smallest margin that was found: the true one is at most this.
        outputs: lowest and highest of each output that was found.
        lipschitz: estimated local constant, of the row where it is largest.
        radius: the CLEVER score, at most `eps`.
        seconds: of the batch, divided by its size.
    """

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
        index: in the test set.
        label: its class.
        status: only `done` has the whole chain; `misclassified` is without any perturbation.
        margins: the least margin by `clean` and `attack` (found), `crown`, `lp`, `lp-tight` and `multi-neuron` (proven).
        exact: whether the LP-tight bound is attained, up to 1e-5 of its size: then it is the true least margin.
        gap: `attack` minus `crown`.
        barrier: `attack` minus `lp-tight`, 0 where they meet: what no relaxation of single neurons closes.
        unstable: units that CROWN leaves unstable.
        seconds: by method.
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
