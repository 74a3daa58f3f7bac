"""Linear programs as verifiers, with the lecture's three answers: YES, NO by the minimiser, MAYBE."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch

from epsball.bounding.base import least_margins
from epsball.bounding.budget.methods import limited
from epsball.device import exact_arithmetic
from epsball.errors import EpsballError
from epsball.verification.base import Status, Verdict, Witness, verifiers
from epsball.verification.incomplete import told
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.triangle import TriangleLp

if TYPE_CHECKING:
    from epsball.problem.problem import Budget, Problem
    from epsball.types import Float, Tensor
    from epsball.verification.programs.program import Array
    from epsball.verification.programs.triangle import Optimum, Relaxation

_ATTAINED = 1e-6  # a relaxation is exact where the network comes this near to its optimum, relative to it


@verifiers.register("lp")
@dataclass(frozen=True)
class LpVerifier:
    """The triangle relaxation by linear programming: one program for each row that CROWN leaves open.

    YES (verified): every row is proven positive. NO (falsified): the minimiser of a row, moved into the set and evaluated by the
    network, breaks the property. MAYBE (unknown): neither.

    Stats of a verdict: by the verifier's name the proven margin; with ".found" the least margin that the network has at a
    minimiser, an upper bound; with ".exact" 1 where the proven margin is attained, that is the network has it at a minimiser in the
    set, else 0; with ".seconds" the time.

    Attributes:
        method: the relaxation and its options.
        label: the name in verdicts; empty for the method's own.

    Sound:   yes: bounds are proven from the solver's multipliers. One that did not finish counts for what its multipliers prove.
    Complete: no.
    Raises:  MissingExtra; BadShape, UnsupportedOp. Anything else is the verdict "error" of its sample.
    Paper:   Ehlers 2017, arXiv:1705.01320; Wong and Kolter 2018, arXiv:1711.00851.
    """

    complete: ClassVar[bool] = False
    method: TriangleLp = field(default_factory=TriangleLp)
    label: str = ""

    @property
    def name(self) -> str:
        """What verdicts call this method."""
        return self.label or ("multi-neuron" if isinstance(self.method, MultiNeuron) else "lp")

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; "timeout" for what the budget did not reach."""
        until = time.monotonic() + budget.seconds
        device = problem.input_set.centre.device
        return [
            self._verdict(problem.take(torch.tensor([i], dtype=torch.long, device=device)), budget, until)
            for i in range(len(problem))
        ]

    def _verdict(self, problem: Problem, budget: Budget, until: float) -> Verdict:
        start = time.perf_counter()
        note, answer = "", _Answer("timeout", math.nan)
        if time.monotonic() < until:
            try:
                with torch.no_grad(), exact_arithmetic():
                    answer = self._answer(problem, budget, until)
            except EpsballError:
                raise
            except Exception as error:  # noqa: BLE001 - one failed sample is a verdict, the rest of a long run goes on
                note, answer = told(error), _Answer("error", math.nan)
        seconds = time.perf_counter() - start
        stats = {self.name: answer.margin, f"{self.name}.seconds": seconds}
        stats |= {f"{self.name}.{key}": value for key, value in answer.facts.items()}
        return Verdict(
            answer.status,
            answer.margin,
            self.name,
            problem.network.arithmetic,
            seconds,
            answer.witness,
            stats=MappingProxyType(stats),
            note=note or answer.note,
        )

    def _answer(self, problem: Problem, budget: Budget, until: float) -> _Answer:
        network = problem.network
        input_set, prop = problem.input_set.to(network.dtype, network.device), problem.prop.to(network.dtype)
        problem = replace(problem, input_set=input_set, prop=prop)
        method = replace(self.method, bounds=limited(self.method.bounds, budget.bytes))
        # what CROWN closes needs no program, nor do the hidden neurons of such a sample
        cheap = replace(method, neurons="given").open(network, input_set)
        search = _Search(problem, cheap, method.crown(cheap, prop.rows())[:, 0])
        if search.open_rows():
            if cheap.unstable and method.neurons == "lp":
                search.relaxation = method.open(network, input_set, until)
            cheap.until = until
            search.run(method)
        return search.answer()


@verifiers.register("multi-neuron")
@dataclass(frozen=True)
class MultiNeuronVerifier(LpVerifier):
    """The triangle relaxation cut by the hulls of groups of three ReLUs (Mueller et al. 2022, arXiv:2103.03638)."""

    method: TriangleLp = field(default_factory=MultiNeuron)


@dataclass(frozen=True, eq=False)
class _Answer:
    status: Status
    margin: float
    witness: Witness | None = None
    facts: MappingProxyType[str, float] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""


@dataclass(eq=False)
class _Search:
    """One sample, row by row from the worst.

    Attributes:
        problem: of one sample.
        relaxation: its program.
        bounds: (R,) proven so far, without the property's offset.
    """

    problem: Problem
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
        """A program for each open row, until the network breaks the property or time is up."""
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
        """Feed a minimiser to the network, moved into the set."""
        p = self.problem
        x = p.input_set.inner().project(x)
        y = p.network.forward(x)
        margin = p.prop.margins(y).amin()
        self.found = min(self.found, float(margin))
        if bool(p.prop.broken(margin) & p.input_set.holds(x)[0]):
            self.witness = Witness(x[0].clone(), y[0].clone())

    def answer(self) -> _Answer:
        p = self.problem
        margin = float(least_margins(lambda *_: self.bounds[:, None], p.network, p.input_set, p.prop))
        facts = {}
        if math.isfinite(self.found):  # the least margin lies between the two: where they meet, it is known
            gap = self.found - float(self.margins().amin())
            facts = {"found": self.found, "exact": float(gap <= _ATTAINED * (1 + abs(margin)))}
        status: Status = "verified" if margin > 0 else "unknown"
        if self.witness is not None:
            status = "falsified"
        elif status != "verified" and self.late:
            status = "timeout"
        return _Answer(status, margin, self.witness, MappingProxyType(facts), self.note)
