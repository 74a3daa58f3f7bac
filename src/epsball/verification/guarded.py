"""Time and failures of a batch, in one place: what is not reached is "timeout", what fails is "error", and all else is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

import torch

from epsball.errors import EpsballError
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Evidence, Status, Verdict, Witness
from epsball.verification.heard import tell

if TYPE_CHECKING:
    from epsball.types import Int, Tensor

T = TypeVar("T")
Spend = Callable[[float, int], float]  # seconds that are left and samples that wait -> seconds that the next ones may use


class Answer(NamedTuple):
    """What a verifier decides of one sample: the fields of its verdict and of its evidence."""

    status: Status
    margin: float = math.nan
    witness: Witness | None = None
    found: float | None = None
    exact: bool | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Outcome(Generic[T]):
    """What became of one sample.

    Attributes:
        said: what was decided, or None.
        failed: why nothing was; says nothing where something was.
        note: the error.
        seconds: what it took.
    """

    said: T | None
    failed: Literal["timeout", "error"] = "error"
    note: str = ""
    seconds: float = 0.0


def all_of_it(seconds: float, waiting: int) -> float:
    """Who comes first may use whatever is left."""
    return seconds


def equal_share(seconds: float, waiting: int) -> float:
    """Every sample may use as much as each of those after it."""
    return seconds / waiting


def guarded(
    problem: Problem,
    budget: Budget,
    decide: Callable[[Problem, Budget], Sequence[Answer]],
    *,
    name: str,
    chunk: int = 1,
    spend: Spend = all_of_it,
) -> list[Verdict]:
    """One verdict a sample, whatever happens on the way.

    Args:
        problem: the batch.
        budget: of all of it.
        decide: called with some samples and what they may spend; gives one answer a sample.
        name: of the verifier.
        chunk: samples that are decided together; the clock is looked at between chunks.
        spend: what a chunk may use of the seconds that are left.

    Raises:
        EpsballError: the caller's, such as BadShape, UnsupportedOp, MissingExtra or BadConfig: it would be every sample's.
            Any other exception is the verdict "error" of its sample. KeyboardInterrupt is raised, too.
        Unsound: an answer is "verified" without a margin above 0.
    """
    outcomes = outcomes_of(problem, budget, decide, name=name, chunk=chunk, spend=spend)
    return [_verdict(outcome, name, problem.network.arithmetic) for outcome in outcomes]


def outcomes_of(
    problem: Problem,
    budget: Budget,
    decide: Callable[[Problem, Budget], Sequence[T]],
    *,
    name: str,
    chunk: int = 1,
    spend: Spend = all_of_it,
) -> list[Outcome[T]]:
    """The same for what is no verdict yet: see `guarded`."""
    until, done = time.monotonic() + budget.seconds, list[Outcome[T]]()

    def run(index: Int[Tensor, " b"]) -> None:
        left = until - time.monotonic()
        if not left > 0:
            done.extend([Outcome(None, "timeout")] * len(index))
            return
        tell(name, len(done) + 1, len(problem))
        start, note, said = time.perf_counter(), "", list[T]()
        try:
            said = list(decide(problem.take(index), replace(budget, seconds=spend(left, len(problem) - len(done)))))
        except EpsballError:
            raise
        except Exception as error:
            if interrupted(error):
                raise KeyboardInterrupt from error
            note = told(error)
        seconds = (time.perf_counter() - start) / len(index)
        if not note:
            done.extend(Outcome(one, seconds=seconds) for one, _ in zip(said, range(len(index)), strict=True))
        elif len(index) == 1:
            done.append(Outcome(None, "error", note, seconds))
        else:  # one of these failed: the others have an answer of their own
            for one in torch.split(index, 1):
                run(one)

    everyone = torch.arange(len(problem), device=problem.input_set.centre.device)
    for index in torch.split(everyone, chunk) if len(everyone) else ():
        run(index)
    return done


def interrupted(error: BaseException) -> bool:
    """Whether an error came of a Ctrl-C: an extension that is interrupted as it is imported raises an ImportError from it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def told(error: Exception) -> str:
    """An unexpected error in one line, for a verdict's note."""
    return f"{type(error).__name__}: {(str(error).strip() or '(no message)').splitlines()[0]}"


def _verdict(outcome: Outcome[Answer], name: str, arithmetic: str) -> Verdict:
    answer = Answer(outcome.failed, note=outcome.note) if outcome.said is None else outcome.said
    evidence = Evidence(name, answer.margin, answer.found, answer.exact, outcome.seconds)
    return Verdict(
        answer.status, answer.margin, name, arithmetic, outcome.seconds, answer.witness, evidence=(evidence,), note=answer.note
    )
