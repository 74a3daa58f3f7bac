"""The default verifier: cheap steps first, each on what the ones before it left open; the union of all that they prove."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import torch
from torch import nn

from epsball.attacks.base import Attack
from epsball.attacks.pgd import PGD
from epsball.attacks.untouched import Function, untouched
from epsball.bounding.base import bounders
from epsball.device import arithmetic, exact_arithmetic
from epsball.device import generator as seeded
from epsball.errors import BadConfig, EpsballError, did_you_mean
from epsball.spec.problem import Budget, Problem
from epsball.verification.base import Status, Verdict, Verifier, Witness, verifiers
from epsball.verification.incomplete import Incomplete, told
from epsball.verification.soundness import check_sound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.types import Tensor

FALSIFIERS = ("clean", "attack")


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

    def verdict(self, dtype: torch.dtype) -> Verdict:
        """What is known in the end. A step that was not reached, or that failed, is never taken for an answer."""
        left: Status = "timeout" if self.late else "error" if self.note else "unknown"
        stats = self.found | self.proven | self.facts | {f"{step}.seconds": s for step, s in self.seconds.items()}
        return Verdict(
            status=self.status or left,
            margin=max((m for m in self.proven.values() if not math.isnan(m)), default=math.nan),
            method=self.by or next(reversed(self.seconds), "none"),
            arithmetic=arithmetic(dtype),
            seconds=sum(self.seconds.values()),
            witness=self.witness,
            stats=MappingProxyType(stats),
            note=self.note,
        )


@verifiers.register("ladder")
@dataclass(frozen=True)
class Ladder:
    """Misclassified? Attacked? Proven by intervals, by CROWN-IBP, by CROWN? The first yes is the answer.

    Every proven margin is held against every margin found on the same sample, and a contradiction raises `Unsound`.

    Attributes:
        steps: "clean", "attack", keys of `bounders`, other verifiers with a name ("lp"), or such objects with options and a label
            of their own; in order. A step that falsifies gives its witness, which is evaluated again as an attack's is.
        attack: of the step "attack". It climbs the prepared network; what it finds is evaluated again on `function`.
        everywhere: steps that run on every sample, settled or not: their own accuracy becomes known, and a proof is held against
            an attack. Verdicts stay the same.
        function: the user's own module. A witness counts only if it breaks this one too. None is the prepared network.
        chunk: samples attacked together.
        seed: of the attack's random numbers.

    Sound:   yes, up to floating point.   Complete: no.
    Raises:  Unsound; BadConfig for an unknown step; what the steps raise.
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
        cases = [_Case() for _ in range(len(problem))]
        with exact_arithmetic():
            for step in self.steps:
                wanted = [i for i, case in enumerate(cases) if self._wants(step, case)]
                if not wanted:
                    continue
                part = problem.take(torch.tensor(wanted, dtype=torch.long, device=problem.input_set.centre.device))
                left = budget.seconds - (time.monotonic() - began)
                self._run(step, part, [cases[i] for i in wanted], budget, left)
        for sample, case in enumerate(cases):
            check_sound(sample, case.found, case.proven, dtype=problem.network.dtype, scale=case.scale)
        return [case.verdict(problem.network.dtype) for case in cases]

    def _wants(self, step: str | Step, case: _Case) -> bool:
        """Whether a step runs on a sample. An attack has nothing to add where the nominal input is misclassified."""
        return case.status is None or (_name(step) in self.everywhere and not (step == "attack" and case.by == "clean"))

    def _run(self, step: str | Step, problem: Problem, cases: Sequence[_Case], budget: Budget, left: float) -> None:
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
            case.seconds[step.name] = verdict.seconds
            case.proven[step.name] = verdict.margin
            case.facts |= {k: v for k, v in verdict.stats.items() if "." in k and not k.endswith((".seconds", ".found"))}
            case.late |= verdict.status == "timeout"
            case.note = case.note or verdict.note
            if verdict.status == "verified":
                case.settle("verified", step.name)
            elif verdict.witness is not None:
                one = torch.tensor([i], dtype=torch.long, device=problem.input_set.centre.device)
                self._witness(problem.take(one), case, step.name, verdict.witness)

    def _witness(self, problem: Problem, case: _Case, name: str, witness: Witness) -> None:
        """A step's counterexample counts only if it breaks the user's own module."""
        x = witness.x[None]
        y, margins = self._evaluate(problem, x)
        case.found[f"{name}.found"] = float(torch.maximum(margins, _margins(problem, x)))
        case.scale = max(case.scale, float(y.abs().max()))
        if float(margins) <= 0:
            case.settle("falsified", name, Witness(witness.x.clone(), y[0].clone()))

    def _clean(self, problem: Problem, cases: Sequence[_Case]) -> None:
        start = time.perf_counter()
        x = problem.input_set.centre
        y, margins = self._evaluate(problem, x)
        # found margins are held against proofs about the prepared network, which may be more precise than the module
        ours = torch.maximum(margins, _margins(problem, x)).tolist()
        seconds = (time.perf_counter() - start) / len(cases)
        for i, (case, margin) in enumerate(zip(cases, margins.tolist(), strict=True)):
            case.found["clean"], case.seconds["clean"] = ours[i], seconds
            case.scale = float(y[i].abs().max())
            if margin <= 0:
                case.settle("falsified", "clean", Witness(x[i].clone(), y[i].clone()))

    def _attack(self, problem: Problem, cases: Sequence[_Case], left: float) -> None:
        began = time.monotonic()
        everyone = torch.arange(len(cases), device=problem.input_set.centre.device)
        for number, index in enumerate(torch.split(everyone, self.chunk)):
            chosen = [cases[i] for i in index.tolist()]
            if time.monotonic() - began >= left:
                for case in chosen:
                    case.late = True
                continue
            try:
                self._attack_chunk(problem.take(index), chosen, number)
            except EpsballError:
                raise
            except Exception as error:  # noqa: BLE001 - one failed chunk is a note, the bounds may still answer
                for case in chosen:
                    case.note = f"attack: {told(error)}"

    def _attack_chunk(self, problem: Problem, cases: Sequence[_Case], number: int) -> None:
        start = time.perf_counter()
        network = problem.network
        input_set = problem.input_set.to(network.dtype, network.device)
        found = self.attack(network.forward, input_set, problem.prop, seeded(network.device, self.seed, number))
        y, there = self._evaluate(problem, found.x)
        margins = torch.maximum(there, found.margin).tolist()
        seconds = (time.perf_counter() - start) / len(cases)
        for i, (case, margin) in enumerate(zip(cases, margins, strict=True)):
            case.found["attack"], case.seconds["attack"] = margin, seconds
            case.scale = max(case.scale, float(y[i].abs().max()))
            if margin <= 0:
                case.settle("falsified", "attack", Witness(found.x[i].clone(), y[i].clone()))

    def _evaluate(self, problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and least margins on the user's own module, in its own precision; results in the prepared network's."""
        network, function = problem.network, self.function
        if function is None:
            function, dtype = network.forward, network.dtype
        else:
            dtype = _dtype(function) or network.dtype
        with untouched(function), torch.no_grad():
            y = function(x.to(network.device, dtype)).to(network.dtype)
        return y, problem.prop.to(network.dtype).margins(y).amin(0)


def _dtype(function: Function) -> torch.dtype | None:
    parameters = function.parameters() if isinstance(function, nn.Module) else ()
    return next((p.dtype for p in parameters if p.is_floating_point()), None)


def _margins(problem: Problem, x: Tensor) -> Tensor:
    """Least margins of the prepared network itself."""
    network = problem.network
    with torch.no_grad():
        return problem.prop.to(network.dtype).margins(network.forward(x.to(network.device, network.dtype))).amin(0)


def named_steps() -> tuple[str, ...]:
    """What a ladder's step may be called, besides "clean" and "attack"."""
    return (*bounders, *(name for name in verifiers if name not in bounders and hasattr(verifiers[name], "name")))


def _step(step: str | Step) -> Step:
    if not isinstance(step, str):
        return step
    return Incomplete(step) if step in bounders else cast("Step", verifiers[step]())


def _name(step: str | Step) -> str:
    return step if isinstance(step, str) else step.name
