"""The lines of a verification and of an attack."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from epsball.record.lines.base import Count, Line, Size, Status, filled


class InstanceLine(Line):
    """What is known of one input.

    Attributes:
        index: in the test set.
        label: its class.
        predicted: without perturbation.
        status: `misclassified` is without any perturbation, `falsified` by one.
        by: the step that settled it, or the last one that was tried: `clean`, `attack`, `ibp`, `crown-ibp`, `crown`, ...
        margin: the largest proven lower bound of the least margin.
        bounds: the margin that each method proved.
        exact: methods, and whether a point of the set attains their bound, so that it is the least margin itself.
        attacked_margin: the least margin that was found in the set, by the attack or at a program's minimiser.
        seconds: for this example.
        times: seconds of each step.
        note: what went wrong.
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
    """An adversarial example with its own input; `x` and `adversarial` are flat, in the order of `shape`.

    At most 12 a run. Numbers are rounded to 5 digits, so they are for looking at and not for replaying.

    Attributes:
        index: in the test set.
        label: the input's class.
        predicted: at the adversarial input.
        shape: of one input.
        x: the input.
        adversarial: the adversarial one.
        margin: the network's own margin there, negative or 0.
    """

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
