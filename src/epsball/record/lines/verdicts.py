"""The lines of a verification and of an attack."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from epsball.record.lines.base import Count, Line, Size, Status, filled


class InstanceLine(Line):
    """What is known of one input.

    Attributes:
        by: the step that settled it, or the last one that was tried.
        margin: the largest proven lower bound of the least margin.
        bounds: the bound of each method.
        exact: methods, and whether a point of the set attains their bound.
        attacked_margin: the least margin that was found.
        times: seconds of each step.
    """

    kind: ClassVar[str] = "instance"

    index: Count
    label: int
    predicted: int | None = None
    status: Status
    by: str = ""
    margin: float | None = None
    bounds: dict[str, float | None] = {}
    exact: dict[str, bool] = {}
    attacked_margin: float | None = None
    seconds: float | None = None
    times: dict[str, float | None] = {}
    note: str = ""


class WitnessLine(Line):
    """An adversarial example with its own input; `x` and `adversarial` are flat, in the order of `shape`."""

    kind: ClassVar[str] = "witness"

    index: Count
    label: int
    predicted: int | None = None
    shape: list[Size]
    x: list[float]
    adversarial: list[float]
    margin: float | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for values in (self.x, self.adversarial):
            filled(values, self.shape, "values")
        return self
