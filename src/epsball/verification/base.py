"""Verdicts, and what a verifier is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, get_args

from epsball.errors import Unsound
from epsball.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


@dataclass(frozen=True, eq=False)
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
        proof: what a separate checker accepts, if the method writes one.
        stats: by method the margin it found ("clean" and "attack": upper bounds of the true one; all others: proven lower
            bounds), and by "<method>.seconds" what it took. Some say more: "<method>.found" is a margin that was found, an upper
            bound; "<method>.exact" is 1 where the bound is known to be attained, 0 where it is not.
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
    proof: Path | None = None
    stats: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""

    def __post_init__(self) -> None:
        if self.status == "verified" and not self.margin > 0:
            raise Unsound(
                f"{self.method!r} calls a sample verified whose proven margin is {self.margin:g}",
                fix='report this as a defect of that verifier: without a margin above 0 the answer is "unknown"',
            )


class Verifier(Protocol):
    """A frozen dataclass whose fields are its options."""

    complete: ClassVar[bool]

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict for each sample of the problem, in its order."""
        ...


verifiers: Registry[type[Verifier]] = Registry(
    "verifier",
    package="epsball.verification",
)
