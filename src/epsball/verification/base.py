"""Verdicts, and what a verifier is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from epsball.errors import Unsound
from epsball.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epsball.ops.operator import Operator
    from epsball.problem.problem import Budget, Problem
    from epsball.types import Tensor

Status = Literal["verified", "misclassified", "falsified", "unknown", "timeout", "error"]
STATUSES: tuple[Status, ...] = get_args(Status)
# Of a set in parts the first of these decides: one broken part breaks it, and it holds only where all parts do.
WORST_FIRST: tuple[Status, ...] = ("misclassified", "falsified", "error", "timeout", "unknown", "verified")


def worst(statuses: Iterable[Status]) -> Status:
    """The status of a whole from those of its parts."""
    return min(statuses, key=WORST_FIRST.index)


@dataclass(frozen=True, eq=False)
class Witness:
    """An input of the set that breaks the property, and the network's own output there, evaluated again.

    Attributes:
        x: (*x).
        y: (K,).
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Evidence:
    """What one step says of one sample.

    Attributes:
        method: the step.
        proven: the largest lower bound of the least margin that it proved; NaN where it proved none, None for a step that never
            does.
        found: the least margin of a point that it evaluated: an upper bound.
        exact: whether a point of the set attains what is proven; None where that was not asked.
        seconds: what it took.
    """

    method: str
    proven: float | None = None
    found: float | None = None
    exact: bool | None = None
    seconds: float = 0.0


def proven_by(evidence: Iterable[Evidence]) -> dict[str, float]:
    """The lower bounds, by method."""
    return {one.method: one.proven for one in evidence if one.proven is not None}


def found_by(evidence: Iterable[Evidence]) -> dict[str, float]:
    """The margins that were found, by method."""
    return {one.method: one.found for one in evidence if one.found is not None}


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What is known of one sample. The only thing a report reads.

    Attributes:
        status: verified, misclassified (the nominal input itself breaks the property), falsified (another input of the set does),
            unknown, timeout or error; the last three are never counted as an answer.
        margin: proven lower bound of the least of `C y + d`; NaN where nothing was bounded.
        method: the step that settled it, or the last one tried.
        arithmetic: what the bounds hold for: "float32, any order of sums", or "real"; and the dtype they were computed in.
        seconds: wall time of the batch, divided by its size.
        witness: only for "misclassified", where it is the nominal input, and "falsified".
        evidence: what each step said, in the order in which they were tried.
        note: what went wrong, for "error".

    Raises:
        Unsound: it says "verified", and its margin is not above 0 (or NaN).
    """

    status: Status
    margin: float
    method: str
    arithmetic: str
    seconds: float
    witness: Witness | None = None
    evidence: tuple[Evidence, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.status == "verified" and not self.margin > 0:
            raise Unsound(
                f"{self.method!r} calls a sample verified whose proven margin is {self.margin:g}",
                fix='report this as a defect of that verifier: without a margin above 0 the answer is "unknown"',
            )

    def __repr__(self) -> str:
        """In one line: `verified  margin 0.31  crown  0.4 s`."""
        parts = [self.status, *([] if math.isnan(self.margin) else [f"margin {self.margin:.4g}"]), self.method]
        return "  ".join([*parts, f"{self.seconds:.2g} s", *([self.note] if self.note else [])])

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a margin that nothing bounded is None, and the witness is left out."""
        return {
            "status": self.status,
            "margin": None if math.isnan(self.margin) else self.margin,
            "found": self.found,
            "method": self.method,
            "arithmetic": self.arithmetic,
            "seconds": self.seconds,
            "note": self.note,
        }

    @property
    def steps(self) -> dict[str, Evidence]:
        """The evidence by method."""
        return {one.method: one for one in self.evidence}

    @property
    def proven(self) -> dict[str, float]:
        """The lower bound that each method proved; NaN where it was tried and proved none."""
        return proven_by(self.evidence)

    @property
    def found(self) -> float | None:
        """The least margin that was found at a point of the set."""
        return min(found_by(self.evidence).values(), default=None)


class Verifier(ABC):
    """A frozen dataclass whose fields are its options, registered under the name that its verdicts give.

    Attributes:
        composed: it is made of a ladder's steps, and so is none itself.
    """

    composed: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What verdicts call it."""
        return verifiers.name_of(type(self))

    def covers(self, kind: type[Operator]) -> bool:
        """Whether it bounds networks with operators of this class; where it does not, UnsupportedOp says so. By default all."""
        return True

    @abstractmethod
    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict for each sample of the problem, in its order."""


verifiers: Registry[type[Verifier]] = Registry(
    "verifier",
    package="epsball.verification",
)
