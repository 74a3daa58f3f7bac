"""The default verifier: cheap steps first, each on what the ones before it left open; the union of all that they prove."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import torch

from epsball.attacks.base import Attack
from epsball.attacks.pgd import PGD
from epsball.attacks.untouched import Function
from epsball.bounding.base import bounders
from epsball.device import exact_arithmetic
from epsball.device import generator as seeded
from epsball.errors import BadConfig, EpsballError, did_you_mean
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Status, Verdict, Verifier, Witness, verifiers
from epsball.verification.incomplete import Incomplete, told
from epsball.verification.replay import Replay, Replayed
from epsball.verification.soundness import contradiction

if TYPE_CHECKING:
    from collections.abc import Sequence

FALSIFIERS = ("clean", "attack")
_NEAR = 0.02  # of the outputs: bounds of trained networks lose less than that to float32 (docs/explanation/rounding.md)


class Step(Verifier, Protocol):
    """A verifier with a name: `Incomplete`, or one of `verifiers` that is no bound method, such as "lp"."""

    @property
    def name(self) -> str:
        """What verdicts call it."""
        ...


STEPS: tuple[str | Step, ...] = ("clean", "attack", "ibp", "crown-ibp", "crown")


@dataclass(eq=False)
class _Case:
    """One sample on its way up."""

    arithmetic: str
    found: dict[str, float] = field(default_factory=dict)
    proven: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    status: Status | None = None
    by: str = ""
    witness: Witness | None = None
    late: bool = False
    note: str = ""
    scale: float = 1.0

    def settle(self, status: Status, by: str, witness: Witness | None = None) -> None:
        """The first step that answers names the verdict."""
        if self.status is None:
            self.status, self.by, self.witness = status, by, witness

    def see(self, name: str, replayed: Replayed, i: int, status: Status) -> None:
        """An input of the set that was evaluated: its margin, and the verdict if it breaks the property."""
        self.found[name] = min(self.found.get(name, math.inf), float(replayed.margin[i]))
        self.scale = max(self.scale, float(replayed.y[i].abs().max()))
        if bool(replayed.broken[i]):
            self.settle(status, name.removesuffix(".found"), Witness(replayed.x[i].clone(), replayed.y[i].clone()))

    @property
    def nearly_proven(self) -> bool:
        """Whether it is open by no more than what rounding may have taken from its bounds."""
        best = max((m for m in self.proven.values() if not math.isnan(m)), default=-math.inf)
        return self.status is None and not self.late and best > -_NEAR * self.scale

    def verdict(self, dtype: torch.dtype) -> Verdict:
        """What is known in the end. A step that was not reached, or that failed, is never taken for an answer."""
        wrong = contradiction(self.found, self.proven, dtype=dtype, scale=self.scale)
        left: Status = "timeout" if self.late else "error" if self.note else "unknown"
        stats = self.found | self.proven | self.facts | {f"{step}.seconds": s for step, s in self.seconds.items()}
        return Verdict(
            status="error" if wrong else self.status or left,
            margin=max((m for m in self.proven.values() if not math.isnan(m)), default=math.nan),
            method=self.by or next(reversed(self.seconds), "none"),
            arithmetic=self.arithmetic,
            seconds=sum(self.seconds.values()),
            witness=self.witness,
            stats=MappingProxyType(stats),
            note=wrong or self.note,
        )


@verifiers.register("ladder")
@dataclass(frozen=True)
class Ladder:
    """Misclassified? Attacked? Proven by intervals, by CROWN-IBP, by CROWN? The first yes is the answer.

    Every proven margin is held against every margin found on the same sample. A contradiction is a defect of this package: that
    sample's verdict is an error with a note that says so, and no other verdict is lost. What fails in float32 for want of a little
    is tried again with bounds in float64.

    Attributes:
        steps: "clean", "attack", keys of `bounders`, other verifiers with a name ("lp"), or such objects with options and a label
            of their own; in order. A step that falsifies gives its witness, which is evaluated again as an attack's is.
        attack: of the step "attack". It climbs `function` within the set rounded inwards.
        everywhere: steps that run on every sample, settled or not: their own accuracy becomes known, and a proof is held against
            an attack. Verdicts stay the same.
        function: the user's own module: a witness counts if it breaks this one. None is the prepared network.
        chunk: samples attacked together.
        seed: of the attack's random numbers.

    Sound:   yes, in the arithmetic that the verdict names.   Complete: no.
    Raises:  BadConfig for an unknown step; what the steps raise.
    """

    complete: ClassVar[bool] = False
    steps: tuple[str | Step, ...] = STEPS
    attack: Attack = field(default_factory=lambda: PGD(targets=3, loss="margin", stop="success"))
    everywhere: tuple[str, ...] = ()
    function: Function | None = field(default=None, repr=False)
    chunk: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        names = [_name(step) for step in self.steps]
        known = (*FALSIFIERS, *named_steps())
        for step in self.steps:
            if isinstance(step, str) and step not in known:
                raise BadConfig(f"unknown step {step!r}", fix=did_you_mean(step, known) or f"use some of {', '.join(known)}")
        for name in self.everywhere:
            if name not in names:
                raise BadConfig(f"the step {name!r} is to run everywhere, but is no step", fix=f"use some of {', '.join(names)}")
        if not names or len(set(names)) < len(names):
            raise BadConfig(f"the steps {names} are empty or name one twice", fix="give each Incomplete a label of its own")

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample."""
        began = time.monotonic()
        cases = [_Case(problem.network.arithmetic) for _ in range(len(problem))]
        with exact_arithmetic():
            for step in self.steps:
                self._run(step, problem, [i for i, case in enumerate(cases) if self._wants(step, case)], cases, budget, began)
            near = [i for i, case in enumerate(cases) if case.nearly_proven] if problem.network.precise is not None else []
            if near:
                self._again(problem, near, cases, budget, began)
        return [case.verdict(problem.network.dtype) for case in cases]

    def _again(self, problem: Problem, near: list[int], cases: Sequence[_Case], budget: Budget, began: float) -> None:
        """The proving steps with bounds in float64, for samples that float32 leaves open by no more than its rounding may take."""
        precise = problem.network.precise
        if precise is None:
            return
        network = precise()
        part = problem.take(torch.tensor(near, dtype=torch.long, device=problem.input_set.centre.device))
        wide = Problem(network, part.input_set.to(network.dtype, network.device), part.prop.to(network.dtype))
        own = [cases[i] for i in near]
        for case in own:
            case.arithmetic = network.arithmetic
        for step in self.steps:
            if step not in FALSIFIERS:
                self._run(step, wide, [i for i, case in enumerate(own) if case.status is None], own, budget, began)

    def _wants(self, step: str | Step, case: _Case) -> bool:
        """Whether a step runs on a sample. An attack has nothing to add where the nominal input is misclassified."""
        return case.status is None or (_name(step) in self.everywhere and not (step == "attack" and case.by == "clean"))

    def _run(
        self, step: str | Step, whole: Problem, wanted: list[int], everyone: Sequence[_Case], budget: Budget, began: float
    ) -> None:
        if not wanted:
            return
        problem = whole.take(torch.tensor(wanted, dtype=torch.long, device=whole.input_set.centre.device))
        cases, left = [everyone[i] for i in wanted], budget.seconds - (time.monotonic() - began)
        if left <= 0:
            for case in cases:
                case.late = True
        elif step == "clean":
            self._clean(problem, cases)
        elif step == "attack":
            self._attack(problem, cases, left)
        else:
            self._prove(_step(step), problem, cases, replace(budget, seconds=left))

    def _prove(self, step: Step, problem: Problem, cases: Sequence[_Case], budget: Budget) -> None:
        for i, (case, verdict) in enumerate(zip(cases, step(problem, budget), strict=True)):
            case.seconds[step.name] = case.seconds.get(step.name, 0.0) + verdict.seconds
            case.proven[step.name] = verdict.margin
            case.facts |= {k: v for k, v in verdict.stats.items() if "." in k and not k.endswith((".seconds", ".found"))}
            case.late |= verdict.status == "timeout"
            case.note = case.note or verdict.note
            if verdict.status == "verified":
                case.settle("verified", step.name)
            elif verdict.witness is not None:  # a step's counterexample counts only if it breaks the user's own module
                one = problem.take(torch.tensor([i], dtype=torch.long, device=problem.input_set.centre.device))
                case.see(f"{step.name}.found", Replay(one, self.function)(verdict.witness.x[None]), 0, "falsified")

    def _clean(self, problem: Problem, cases: Sequence[_Case]) -> None:
        start = time.perf_counter()
        replayed = Replay(problem, self.function)(problem.input_set.centre)
        seconds = (time.perf_counter() - start) / len(cases)
        for i, case in enumerate(cases):
            case.seconds["clean"] = seconds
            case.see("clean", replayed, i, "misclassified")

    def _attack(self, problem: Problem, cases: Sequence[_Case], left: float) -> None:
        began = time.monotonic()
        everyone = torch.arange(len(cases), device=problem.input_set.centre.device)
        for index in torch.split(everyone, self.chunk):
            chosen = [cases[i] for i in index.tolist()]
            if time.monotonic() - began >= left:
                for case in chosen:
                    case.late = True
                continue
            try:
                self._attack_chunk(problem.take(index), chosen)
            except EpsballError:
                raise
            except Exception as error:  # noqa: BLE001 - one failed chunk is a note, the bounds may still answer
                for case in chosen:
                    case.note = f"attack: {told(error)}"

    def _attack_chunk(self, problem: Problem, cases: Sequence[_Case]) -> None:
        start = time.perf_counter()
        replay, device = Replay(problem, self.function), problem.network.device
        input_set = problem.input_set.to(replay.dtype, device)
        replayed = replay(self.attack(replay.runs, input_set, problem.prop, seeded(device, self.seed)).x)
        seconds = (time.perf_counter() - start) / len(cases)
        for i, case in enumerate(cases):
            case.seconds["attack"] = seconds
            case.see("attack", replayed, i, "falsified")


def named_steps() -> tuple[str, ...]:
    """What a ladder's step may be called, besides "clean" and "attack"."""
    return (*bounders, *(name for name in verifiers if name not in bounders and hasattr(verifiers[name], "name")))


def _step(step: str | Step) -> Step:
    if not isinstance(step, str):
        return step
    return Incomplete(step) if step in bounders else cast("Step", verifiers[step]())


def _name(step: str | Step) -> str:
    return step if isinstance(step, str) else step.name
