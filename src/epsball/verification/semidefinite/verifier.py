"""The semidefinite relaxation of a ReLU network: tighter than the triangle LP, by ascent on its dual."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from epsball.bounding.budget.methods import limited
from epsball.bounding.budget.within import Within
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, BadShape
from epsball.forms.rows import Rows
from epsball.ops.operator import Affine, Nonlinear, Operator
from epsball.problem.problem import Budget, Problem
from epsball.types import Float, Tensor
from epsball.verification.base import Verdict, Verifier, verifiers
from epsball.verification.guarded import Answer, equal_share, guarded
from epsball.verification.incomplete import lower_margins, proof
from epsball.verification.programs.triangle import below
from epsball.verification.semidefinite.ascent import climb
from epsball.verification.semidefinite.dual import Dual
from epsball.verification.semidefinite.lift import lift
from epsball.verification.semidefinite.newton import centre
from epsball.verification.semidefinite.pace import Stopwatch

if TYPE_CHECKING:
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet

_STAGES = 40  # weights of the barrier that are tried at most
_CHECKS = 3  # of what was reached at the end, at most two, and each may take a little longer than the first
_MARGIN = 1.5  # what is left at the centre may be so much more than the gap there before a form is given up


class Reached(NamedTuple):
    """What an ascent ended with.

    Attributes:
        bound: proven.
        ceiling: about the relaxation's own value, from above; infinity where the ascent ended off the centre.
        x: the multipliers.
        steps: of Newton's method.
    """

    bound: float
    ceiling: float
    x: Float[Tensor, " m"]
    steps: int


@dataclass(frozen=True)
class Sdp:
    """Lower bounds by the semidefinite relaxation with the triangle's lines and a bound on every variable's square.

    The dual is climbed from CROWN's own multipliers along the central path of a logarithmic barrier: Newton steps (or first-order
    ones) at each weight, then a smaller weight. Every point on the way is a proof, and the last one is checked with the least
    eigenvalue in float64. A form is left as soon as it is as good as asked for, or cannot become so.

    Attributes:
        hidden: bounds of the hidden neurons, and where the ascent starts.
        newton: Newton steps at each weight, at most.
        steps: first-order steps (L-BFGS) at each weight, before Newton's. Alone (newton=0) they stop well short.
        shrink: from one weight to the next.
        tolerance: ends when the gap is at most this share of the bound (or of a hundredth of what CROWN loses, if that is more).
        enough: a form whose bound exceeds this is left as it is; None is without end. A verifier needs a positive bound only.
        seconds: of one call; what was reached by then is returned. It stops before a step that it expects to take longer.

    Shapes:  rows (P, B, K) over the output, shared layout; result (P, B). Never below CROWN.
    Sound:   yes: see `Dual.certified` for what is left to rounding.   Complete: no.
    Cost:    for each form 50 to 100 factorisations of a matrix with a row an input and an unstable ReLU, and of one with a row a
        multiplier: about 25 s for 784 inputs and 60 unstable units on one core.
    Raises:  UnsupportedOp for other operators than affine ones, ReLU and leaky ReLU; BadConfig where it is too large.
    Paper:   Raghunathan et al. 2018, arXiv:1811.01057; Dathathri et al. 2020, arXiv:2010.11645.  Differs: stable units are no
        variables, the triangle's upper line is a constraint, so that it is never below the LP; a barrier instead of an eigenvalue
        penalty.
    """

    hidden: Crown = field(default_factory=Crown)
    newton: int = 80
    steps: int = 0
    shrink: float = 0.2
    tolerance: float = 5e-3
    enough: float | None = None
    seconds: float = math.inf

    def __post_init__(self) -> None:
        if self.steps < 0 or self.newton < 0 or self.steps + self.newton == 0:
            raise BadConfig("a semidefinite bound needs steps > 0 or newton > 0", fix="newton=80")
        if not 0 < self.shrink < 1 or not self.tolerance > 0 or not self.seconds > 0:
            raise BadConfig("a semidefinite bound needs shrink in (0, 1), tolerance > 0 and seconds > 0")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        return self.within(network, input_set, rows, math.inf)[0]

    def within(self, network: Prepared, input_set: InputSet, rows: Rows, until: float) -> tuple[Tensor, bool]:
        """The same until a time of `time.monotonic()`, and whether it was cut short."""
        if rows.sample is not None:
            raise BadShape("a semidefinite bound takes the same number of forms for each sample", fix="give shared rows")
        until = min(until, time.monotonic() + self.seconds)
        known = self.hidden.known(network, input_set)
        bounds = known.lower_bound(network.plan.output, rows)
        for i in range(bounds.shape[1]):
            one = torch.tensor([i], dtype=torch.long, device=bounds.device)
            todo = [r for r in bounds[:, i].argsort().tolist() if self.enough is None or not bounds[r, i] > self.enough]
            if not todo:
                continue
            if time.monotonic() > until:
                return bounds, True
            own = {slot: type(pre)(pre.lower[one], pre.upper[one]) for slot, pre in known.found.items()}
            lifted = lift(network, input_set.take(one), own, rows.like(rows.values[todo][:, one]))
            for place, row in enumerate(todo):
                pace = Stopwatch(until)
                reached = self.ascend(Dual(lifted, place), pace)
                proven = below(torch.tensor(reached.bound, dtype=torch.float64), bounds.dtype)
                bounds[row, i] = torch.maximum(bounds[row, i], proven.to(bounds.device))
                if pace.late:
                    return bounds, True
        return bounds, False

    def ascend(self, dual: Dual, pace: Stopwatch | None = None) -> Reached:
        """The bound of one form, not below CROWN's with adaptive slopes."""
        pace = Stopwatch() if pace is None else pace
        least, x = dual.crown()
        gap, taken, ceiling = dual.nominal() - least, 0, math.inf
        if dual.lifted.units == 0 or gap <= 1e-9 * (1 + abs(least)):
            return Reached(least, least, x, 0)
        loss, kept = gap, [x]
        start = time.monotonic()
        x = torch.where(dual.signed, x + gap / dual.degree, x)
        if math.isfinite(pace.until):  # what the checks at the end take; a step factorises matrices with a row a multiplier
            if pace.stop():
                return Reached(least, ceiling, kept[0], 0)
            dual.certified(x)
            pace.reserve = _CHECKS * (time.monotonic() - start)
            pace.longest = pace.reserve / _CHECKS * (len(x) / dual.lifted.A.shape[1]) ** 3
        for _ in range(_STAGES):
            weight = gap / dual.degree
            pace.pause()
            x = climb(dual, x, weight, steps=self.steps, pace=pace)
            pace.pause()
            x, steps, centred = centre(dual, x, weight, steps=self.newton, pace=pace)
            kept, taken, value = [*kept[-1:], x], taken + steps, self._value(dual, x)
            if centred:
                ceiling = min(ceiling, value + _MARGIN * gap)
            enough = self.enough is not None and (value > self.enough or ceiling < self.enough)
            small = gap <= self.tolerance * max(abs(value), 0.01 * loss)
            if enough or small or pace.late or (self.newton and not centred):
                break
            gap *= self.shrink
        proven, best = max((dual.certified(end), place) for place, end in enumerate(kept))  # off the centre the last may be worse
        return Reached(max(proven, least), ceiling, kept[best], taken)

    @staticmethod
    def _value(dual: Dual, x: Tensor) -> float:
        found = dual.bound(x)
        return -math.inf if found is None else float(found[0])


@dataclass(eq=False)
class _Timed:
    """The bound until a time, and whether it was cut short."""

    method: Sdp
    until: float
    late: bool = False

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        bounds, self.late = self.method.within(network, input_set, rows, self.until)
        return bounds


@verifiers.register("sdp")
@dataclass(frozen=True)
class SdpVerifier(Verifier):
    """The semidefinite relaxation (Raghunathan et al. 2018, arXiv:1811.01057) of the forms that CROWN leaves open.

    A sample may use an equal share of the seconds that are left.

    Attributes:
        method: the bound and its options.
        label: the name in verdicts; empty for the name that it is registered under.

    Sound:   yes: as the bound.   Complete: no.
    Raises:  BadConfig, BadShape, UnsupportedOp. Anything else is the verdict "error" of its sample.
    """

    method: Sdp = field(default_factory=lambda: Sdp(enough=1e-3))
    label: str = ""

    @property
    def name(self) -> str:
        """What verdicts call it: the name it is registered under, if it has no label."""
        return self.label or super().name

    def covers(self, kind: type[Operator]) -> bool:
        """Affine operators, and those that are linear on either side of 0."""
        return issubclass(kind, Affine) or kind.leak is not Nonlinear.leak

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; "timeout" for what the budget did not reach or cut short."""

        def decide(one: Problem, share: Budget) -> list[Answer]:
            method = replace(self.method, hidden=limited(self.method.hidden, share.bytes))
            timed = _Timed(method, time.monotonic() + share.seconds)
            (margin,) = lower_margins(Within(timed, share), one).tolist()
            answer = proof(margin)
            return [answer._replace(status="timeout") if timed.late and answer.status == "unknown" else answer]

        return guarded(problem, budget, decide, name=self.name, spend=equal_share)
