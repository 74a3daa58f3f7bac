"""Linear programs as verifiers, with the lecture's three answers: YES, NO by the minimiser, MAYBE."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from epsball.bounding.base import least_margins
from epsball.bounding.budget.methods import limited
from epsball.device import exact_arithmetic
from epsball.verification.base import Verdict, Verifier, Witness, verifiers
from epsball.verification.guarded import Answer, guarded
from epsball.verification.incomplete import proof
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.replay import Replay

if TYPE_CHECKING:
    from epsball.problem.problem import Budget, Problem
    from epsball.types import Float, Tensor
    from epsball.verification.programs.program import Array
    from epsball.verification.programs.triangle import Optimum, Relaxation

_ATTAINED = 1e-6  # a relaxation is exact where the network comes this near to its optimum, relative to it


@verifiers.register("lp")
@dataclass(frozen=True)
class LpVerifier(Verifier):
    """The triangle relaxation by linear programming: one program for each row that CROWN leaves open.

    YES (verified): every row is proven positive. NO (falsified): the minimiser of a row, moved into the set and evaluated by the
    problem's function, breaks the property. MAYBE (unknown): neither.

    Its evidence: the proven margin; as found the least margin at a minimiser in the set, an upper bound; exact where the two meet.

    Attributes:
        method: the relaxation and its options.
        label: the name in verdicts; empty for the name that it is registered under.

    Sound:   yes: bounds are proven from the solver's multipliers. One that did not finish counts for what its multipliers prove.
    Complete: no.
    Raises:  MissingExtra; BadShape, UnsupportedOp. Anything else is the verdict "error" of its sample.
    Paper:   Ehlers 2017, arXiv:1705.01320; Wong and Kolter 2018, arXiv:1711.00851.
    """

    method: TriangleLp = field(default_factory=TriangleLp)
    label: str = ""

    @property
    def name(self) -> str:
        """What verdicts call it: the name it is registered under, if it has no label."""
        return self.label or super().name

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; "timeout" for what the budget did not reach."""
        return guarded(problem, budget, self._decide, name=self.name)

    def _decide(self, problem: Problem, budget: Budget) -> list[Answer]:
        """The answer of one sample."""
        until, network = time.monotonic() + budget.seconds, problem.network
        with torch.no_grad(), exact_arithmetic():
            input_set, prop = problem.input_set.to(network.dtype, network.device), problem.prop.to(network.dtype)
            method = replace(self.method, bounds=limited(self.method.bounds, budget.bytes))
            # what CROWN closes needs no program, nor do the hidden neurons of such a sample
            cheap = replace(method, neurons="given").open(network, input_set)
            there = replace(problem, input_set=input_set, prop=prop)
            search = _Search(there, Replay(problem), cheap, method.crown(cheap, prop.rows())[:, 0])
            if search.open_rows():
                if cheap.unstable and method.neurons == "lp":
                    search.relaxation = method.open(network, input_set, until)
                cheap.until = until
                search.run(method)
            return [search.answer()]


@verifiers.register("multi-neuron")
@dataclass(frozen=True)
class MultiNeuronVerifier(LpVerifier):
    """The triangle relaxation cut by the hulls of groups of three ReLUs (Mueller et al. 2022, arXiv:2103.03638)."""

    method: TriangleLp = field(default_factory=MultiNeuron)


@dataclass(eq=False)
class _Search:
    """One sample, row by row from the worst.

    Attributes:
        problem: of one sample, in the network's precision.
        replay: judges it as it was given.
        relaxation: its program.
        bounds: (R,) proven so far, without the property's offset.
    """

    problem: Problem
    replay: Replay
    relaxation: Relaxation
    bounds: Float[Tensor, " R"]

    def __post_init__(self) -> None:
        self.found = math.inf
        self.witness: Witness | None = None
        self.late, self.note = False, ""

    def open_rows(self) -> list[int]:
        """Rows that are not proven, from the worst."""
        margins = self.margins()
        return [row for row in margins.argsort().tolist() if not margins[row] > 0]

    def margins(self) -> Float[Tensor, " R"]:
        d = self.problem.prop.d
        return self.bounds if d is None else self.bounds + d[:, 0]

    def run(self, method: TriangleLp) -> None:
        """A program for each open row, until the function breaks the property or time is up."""
        forms = self.relaxation.output(self.problem.prop.rows())
        for row in filter(forms.finite, self.open_rows()):
            best = method.least(self.relaxation, forms, row)
            self.bounds[row] = max(float(self.bounds[row]), math.nextafter(best.bound, -math.inf))
            for v in (*best.earlier, *self._minimiser(best)):
                self._try(self.relaxation.encoding.point(v))
                if self.witness is not None:
                    return
            if best.outcome == "limit":
                self.late = True
                return

    def _minimiser(self, best: Optimum) -> list[Array]:
        """The point where a program attains its optimum; none where the solver did not finish, which is noted."""
        if best.outcome == "optimal" and best.v is not None:
            return [best.v]
        self.note = "the solver did not finish a program"
        return []

    def _try(self, x: Tensor) -> None:
        """Feed a minimiser, moved into the set, to the problem's function."""
        replayed = self.replay(self.replay.inner.project(x.to(self.replay.dtype)))
        self.found = min(self.found, float(replayed.margin))
        if bool(replayed.broken):
            self.witness = Witness(replayed.x[0].clone(), replayed.y[0].clone())

    def answer(self) -> Answer:
        p = self.problem
        margin = float(least_margins(lambda *_: self.bounds[:, None], p.network, p.input_set, p.prop))
        answer = proof(margin)._replace(note=self.note)
        if math.isfinite(self.found):  # the least margin lies between the two: where they meet, it is known
            gap = self.found - float(self.margins().amin())
            answer = answer._replace(found=self.found, exact=abs(gap) <= _ATTAINED * (1 + abs(margin)))
        if self.witness is not None:
            return answer._replace(status="falsified", witness=self.witness)
        return answer._replace(status="timeout") if self.late and answer.status == "unknown" else answer
