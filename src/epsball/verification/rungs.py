"""The rungs of a ladder: is the nominal input right, does an attack break it, does a verifier prove it?"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from epsball.attacks.base import Attack
from epsball.bounding.base import bounders
from epsball.device import generator as seeded
from epsball.errors import BadConfig, did_you_mean
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Evidence, Verifier, verifiers
from epsball.verification.guarded import outcomes_of
from epsball.verification.incomplete import Incomplete
from epsball.verification.replay import Replay, Replayed
from epsball.verification.sample import Sample

Step = str | Verifier  # a rung by its name, or a verifier with options and a label of its own


@dataclass(frozen=True)
class Rung(ABC):
    """A step on some samples.

    Attributes:
        name: of the step.
        falsifies: it looks for inputs that break the property, and proves nothing.
    """

    falsifies: ClassVar[bool] = False
    name: str

    def adds_to(self, sample: Sample) -> bool:
        """Whether it may say something of a sample that is settled."""
        return True

    @abstractmethod
    def __call__(self, problem: Problem, samples: Sequence[Sample], budget: Budget) -> None:
        """Tell every sample of the problem what is found of it."""


@dataclass(frozen=True)
class Clean(Rung):
    """The nominal input itself."""

    falsifies: ClassVar[bool] = True
    name: str = "clean"

    def __call__(self, problem: Problem, samples: Sequence[Sample], budget: Budget) -> None:
        start = time.perf_counter()
        replayed = Replay(problem)(problem.input_set.centre)
        seconds = (time.perf_counter() - start) / len(samples)
        for i, sample in enumerate(samples):
            sample.see(Evidence(self.name, seconds=seconds), replayed, i, "misclassified")


@dataclass(frozen=True, kw_only=True)
class Attacked(Rung):
    """An attack on the problem's function, within the set rounded inwards.

    Attributes:
        attack: which one.
        chunk: samples attacked together.
        seed: of its random numbers.
    """

    falsifies: ClassVar[bool] = True
    name: str = "attack"
    attack: Attack
    chunk: int
    seed: int

    def adds_to(self, sample: Sample) -> bool:
        """It has nothing to add where the nominal input is misclassified."""
        return sample.status != "misclassified"

    def __call__(self, problem: Problem, samples: Sequence[Sample], budget: Budget) -> None:
        outcomes = outcomes_of(problem, budget, self._decide, name=self.name, chunk=self.chunk)
        for sample, outcome in zip(samples, outcomes, strict=True):
            if outcome.said is not None:
                replayed, i = outcome.said
                sample.see(Evidence(self.name, seconds=outcome.seconds), replayed, i, "falsified")
            elif outcome.failed == "timeout":
                sample.late = True
            else:  # the bounds may still answer
                sample.note = sample.note or f"{self.name}: {outcome.note}"

    def _decide(self, part: Problem, _: Budget) -> list[tuple[Replayed, int]]:
        replay, device = Replay(part), part.network.device
        input_set = part.input_set.to(replay.dtype, device)
        replayed = replay(self.attack(replay.runs, input_set, part.prop, seeded(device, self.seed)).x)
        return [(replayed, i) for i in range(len(part))]


@dataclass(frozen=True)
class Proved(Rung):
    """A verifier. A counterexample of its own counts only if it breaks the problem's function: it is evaluated again here."""

    verifier: Verifier

    def __call__(self, problem: Problem, samples: Sequence[Sample], budget: Budget) -> None:
        for i, (sample, verdict) in enumerate(zip(samples, self.verifier(problem, budget), strict=True)):
            own = verdict.steps.get(self.name)
            heard = Evidence(self.name, verdict.margin, None, None if own is None else own.exact, verdict.seconds)
            sample.late |= verdict.status == "timeout"
            sample.note = sample.note or verdict.note
            if verdict.status == "verified":
                sample.hear(heard)
                sample.settle("verified", self.name)
            elif verdict.witness is not None:
                one = problem.take(torch.tensor([i], dtype=torch.long, device=problem.input_set.centre.device))
                sample.see(heard, Replay(one)(verdict.witness.x[None]), 0, "falsified")
            else:
                sample.hear(heard)


def verifier(name: str) -> Verifier:
    """The verifier of a name: every bound method is one, and what `verifiers` holds.

    Raises:
        BadConfig: unknown.
    """
    return Incomplete(name) if name in bounders else verifiers[name]()


def named_steps() -> tuple[str, ...]:
    """What a ladder's step may be called, besides "clean" and "attack"."""
    return (*bounders, *(name for name, kind in verifiers.items() if not kind.composed))


def rungs_of(steps: Sequence[Step], attack: Attacked) -> list[Rung]:
    """The rung of each step.

    Raises:
        BadConfig: no step has such a name.
    """
    own: dict[str, Rung] = {rung.name: rung for rung in (Clean(), attack)}
    return [own[step] if isinstance(step, str) and step in own else Proved(*_named(step, own)) for step in steps]


def _named(step: Step, own: dict[str, Rung]) -> tuple[str, Verifier]:
    """A verifier with what verdicts call it."""
    if not isinstance(step, str):
        return step.name, step
    known = (*own, *named_steps())
    if step not in known:
        raise BadConfig(f"unknown step {step!r}", fix=did_you_mean(step, known) or f"use some of {', '.join(known)}")
    return step, verifier(step)
