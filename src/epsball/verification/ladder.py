"""The default verifier: cheap steps first, each on what the ones before it left open; the union of all that they prove."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from epsball.attacks.base import Attack
from epsball.attacks.pgd import PGD
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig, did_you_mean
from epsball.ops.prepared import Prepared
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Verdict, Verifier, verifiers
from epsball.verification.rungs import Attacked, Rung, Step, named_steps, rungs_of
from epsball.verification.sample import Sample

STEPS: tuple[Step, ...] = ("clean", "attack", "ibp", "crown-ibp", "crown")


@verifiers.register("ladder")
@dataclass(frozen=True)
class Ladder(Verifier):
    """Misclassified? Attacked? Proven by intervals, by CROWN-IBP, by CROWN? The first yes is the answer.

    Every proven margin is held against every margin found on the same sample. A contradiction is a defect of this package: that
    sample's verdict is an error with a note that says so, and no other verdict is lost. What fails in float32 for want of a little
    is tried again with bounds in float64.

    Attributes:
        steps: "clean", "attack", keys of `bounders`, other verifiers with a name ("lp"), or such objects with options and a label
            of their own; in order. A step that falsifies gives its witness, which is evaluated again as an attack's is.
        attack: of the step "attack". It climbs the problem's function within the set rounded inwards.
        everywhere: steps that run on every sample, settled or not: their own accuracy becomes known, and a proof is held against
            an attack. Verdicts stay the same.
        chunk: samples attacked together.
        seed: of the attack's random numbers.

    Sound:   yes, in the arithmetic that the verdict names.   Complete: no.
    Raises:  BadConfig for an unknown step; what the steps raise.
    """

    composed: ClassVar[bool] = True
    steps: tuple[Step, ...] = STEPS
    attack: Attack = field(default_factory=lambda: PGD(targets=3, loss="margin", stop="success"))
    everywhere: tuple[str, ...] = ()
    chunk: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        names = [rung.name for rung in self.rungs()]
        for name in self.everywhere:
            if name not in names:
                raise BadConfig(f"the step {name!r} is to run everywhere, but is no step", fix=f"use some of {', '.join(names)}")
        if not names or len(set(names)) < len(names):
            raise BadConfig(f"the steps {names} are empty or name one twice", fix="give each Incomplete a label of its own")

    def rungs(self) -> list[Rung]:
        """Its steps."""
        return rungs_of(self.steps, Attacked(attack=self.attack, chunk=self.chunk, seed=self.seed))

    def parted(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Its steps that falsify, and those that prove."""
        pairs = list(zip(self.steps, self.rungs(), strict=True))
        return tuple(step for step, rung in pairs if rung.falsifies), tuple(step for step, rung in pairs if not rung.falsifies)

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample."""
        rungs, until = self.rungs(), time.monotonic() + budget.seconds
        samples = [Sample(problem.network.arithmetic) for _ in range(len(problem))]
        with exact_arithmetic():
            _climb(rungs, problem, samples, self._wants, budget, until)
            near = [i for i, sample in enumerate(samples) if sample.nearly_proven]
            if near and problem.network.precise is not None:
                own, network = [samples[i] for i in near], problem.network.precise()
                for sample in own:
                    sample.arithmetic = network.arithmetic
                proving = [rung for rung in rungs if not rung.falsifies]
                _climb(proving, _precise(_some(problem, near), network), own, lambda _, sample: sample.open, budget, until)
        return [sample.verdict(problem.network.dtype) for sample in samples]

    def _wants(self, rung: Rung, sample: Sample) -> bool:
        """Whether a step runs on a sample."""
        return sample.open or (rung.name in self.everywhere and rung.adds_to(sample))


def _climb(
    rungs: Sequence[Rung],
    problem: Problem,
    samples: Sequence[Sample],
    wants: Callable[[Rung, Sample], bool],
    budget: Budget,
    until: float,
) -> None:
    """Every step on the samples that want it, until a time of `time.monotonic()`."""
    for rung in rungs:
        wanted = [i for i, sample in enumerate(samples) if wants(rung, sample)]
        chosen, left = [samples[i] for i in wanted], until - time.monotonic()
        if left <= 0:
            for sample in chosen:
                sample.late = True
        elif wanted:
            rung(_some(problem, wanted), chosen, replace(budget, seconds=left))


def _some(problem: Problem, index: Sequence[int]) -> Problem:
    return problem.take(torch.tensor(index, dtype=torch.long, device=problem.input_set.centre.device))


def _precise(problem: Problem, network: Prepared) -> Problem:
    """The same question for the network in float64: what float32 leaves open by no more than its rounding may take."""
    input_set, prop = problem.input_set.to(network.dtype, network.device), problem.prop.to(network.dtype)
    return replace(problem, network=network, input_set=input_set, prop=prop)


def steps_named(method: str, where: str = "method") -> tuple[Step, ...]:
    """The steps of names with commas: "auto" is the ladder itself; before any other name come "clean" and "attack".

    Raises:
        BadConfig: an unknown name.
    """
    chosen: list[Step] = []
    known = ("auto", *named_steps())
    for name in (part.strip() for part in method.split(",")):
        if name not in known:
            raise BadConfig(f"unknown method {name!r}", where=where, fix=did_you_mean(name, known) or f"use {', '.join(known)}")
        chosen += [step for step in (STEPS if name == "auto" else ("clean", "attack", name)) if step not in chosen]
    return tuple(chosen)
