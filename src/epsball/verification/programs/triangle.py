"""The triangle relaxation solved to its optimum, for forms over the output and for hidden neurons."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.intermediate import Tightest
from epsball.bounding.linear.known import Known
from epsball.device import tolerance
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.ops.elementwise import Elementwise
from epsball.verification.programs.encode import Encoding, neurons
from epsball.verification.programs.program import Array, Forms
from epsball.verification.programs.solvers import Outcome, Session, Solver, open_session

if TYPE_CHECKING:
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Float, Tensor

Neurons = Literal["given", "lp"]


@dataclass(frozen=True, eq=False)
class Optimum:
    """What is known of the least value of one form.

    Attributes:
        bound: proven, from the multipliers, however the solver ended; minus infinity where they prove nothing.
        outcome: how the solver ended.
        v: where the relaxation attains it, or None.
        multipliers: of the program's rows.
        earlier: where it was attained before rows were added.
    """

    bound: float
    outcome: Outcome
    v: Array | None
    multipliers: Array
    earlier: tuple[Array, ...] = ()


@dataclass(eq=False)
class Relaxation:
    """One sample's linear program, ready for any number of objectives. It is written down when the first one comes.

    Attributes:
        encoding: its variables.
        solver: which one to open.
        until: `time.monotonic()` at which solvers must stop.
    """

    encoding: Encoding
    solver: Solver
    until: float = math.inf

    @cached_property
    def session(self) -> Session:
        """The solver, with the whole network encoded."""
        self.encoding.add_until(self.encoding.known.network.plan.output + 1)
        return open_session(self.encoding.program, self.solver)

    @property
    def unstable(self) -> int:
        """How many units have variables."""
        self.encoding.add_until(self.encoding.known.network.plan.output + 1)
        return sum(len(units.index) for units in self.encoding.units.values())

    def least(self, forms: Forms, row: int) -> Optimum:
        """The least value of one form over the relaxation."""
        cost = forms.cost(row, self.encoding.program.count)
        return solve(self.session, self.encoding, cost, float(forms.offset[row] - forms.lost[row]), self.until)

    def output(self, rows: Rows) -> Forms:
        """Forms over the network's output as functions of the variables."""
        output = self.encoding.known.network.plan.output
        self.encoding.add_until(output + 1)
        return self.encoding.forms(output, rows)


def solve(session: Session, encoding: Encoding, cost: Array, offset: float, until: float) -> Optimum:
    """Minimise, and prove a bound from the multipliers: those of a solver that did not finish still prove one."""
    found = session.minimise(cost, until - time.monotonic())
    # rows that only rounding makes contradict each other would "prove" anything, by multipliers without end
    error = 0.0 if found.outcome == "optimal" else tolerance(encoding.known.network.dtype)
    bound = session.program.proven(cost, offset, found.multipliers, error)
    if not encoding.known.input_set.is_box:
        bound = max(bound, _over_the_set(session, encoding, (cost, offset, found.multipliers), error))
    return Optimum(bound, found.outcome, found.v, found.multipliers)


def _over_the_set(session: Session, encoding: Encoding, proof: tuple[Array, float, Array], error: float) -> float:
    """The same bound, of (cost, offset, multipliers), with the input's share minimised over the set itself instead of its hull."""
    cost, offset, multipliers = proof
    program, count, input_set = session.program, encoding.inputs, encoding.known.input_set
    left, rows, size = program.reduced(cost, multipliers)
    at = np.where(left > 0, program.lower, program.upper)[count:]
    hidden = float(np.where(left[count:] == 0, 0.0, left[count:]) @ np.where(left[count:] == 0, 0.0, at))
    centre = input_set.centre
    form = Rows(torch.from_numpy(left[:count]).view(1, *centre.shape).to(centre.device))
    least = float(input_set.to(torch.float64, centre.device).minimise(form))
    return program.lowered(least + hidden + rows + offset, size + abs(offset), error)


@dataclass(frozen=True)
class TriangleLp:
    """The least value of forms over the triangle relaxation of every unstable unit, by linear programming.

    A bound method like any other (`epsball.bounds(net, box, TriangleLp())`), one sample and one row at a time.

    Attributes:
        bounds: where the intervals of the hidden neurons come from.
        neurons: "given": as they are; "lp": each neuron that they leave unstable is bounded by linear programs over the layers
            before it, layer by layer. The latter is the best that any relaxation of single neurons can do.
        solver: "auto" is highspy where it is installed (the extra [verify]: one basis from objective to objective), else scipy.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes: the value is proven from the solver's multipliers, projected to the signs they may have and summed here with its
        rounding error subtracted; the network's own arithmetic is that of its dtype.   Complete: no.
    Cost:    a linear program a row, with one variable an input and two an unstable unit; "lp": two more an unstable unit.
    Raises:  BadConfig; MissingExtra if highspy is named and not installed.
    Paper:   Ehlers 2017, arXiv:1705.01320; Salman et al. 2019, arXiv:1902.08722 (the convex barrier).
    """

    bounds: Crown = field(default_factory=Crown)
    neurons: Neurons = "given"
    solver: Solver = "auto"

    def __post_init__(self) -> None:
        if self.neurons not in ("given", "lp"):
            raise BadConfig(f"unknown choice {self.neurons!r} of neurons", fix="use given or lp")
        if self.solver not in ("auto", "scipy", "highspy"):
            raise BadConfig(f"unknown solver {self.solver!r}", fix="use auto, scipy or highspy")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Float[Tensor, "P Q"]:
        """Lower bounds of linear forms of the output over the set."""
        result = torch.full(rows.values.shape[:2], -math.inf, dtype=torch.float64)
        sample = torch.arange(rows.values.shape[1]) if rows.sample is None else rows.sample.cpu()
        for b in sorted(set(sample.tolist())):
            here = (sample == b).nonzero()[:, 0]
            with torch.no_grad():
                one = torch.tensor([b], dtype=torch.long, device=input_set.centre.device)
                relaxation = self.open(network, input_set.take(one))
                forms = relaxation.output(Rows(rows.values[:, here.to(rows.device)], here.new_zeros(len(here)).to(rows.device)))
            values = [self.least(relaxation, forms, i).bound for i in range(len(forms.offset))]
            result[:, here] = torch.tensor(values, dtype=torch.float64).view(-1, len(here))
        return below(result, network.dtype).to(rows.device)

    def open(self, network: Prepared, input_set: InputSet, until: float = math.inf) -> Relaxation:
        """The relaxation of one sample's problem."""
        return Relaxation(self._encoding(network, input_set, until), self.solver, until)

    def _encoding(self, network: Prepared, input_set: InputSet, until: float) -> Encoding:
        source = self.bounds.source()
        if self.neurons == "lp":
            rows = source if isinstance(source, Tightest) else Tightest(chunk_bytes=self.bounds.chunk_bytes)
            source = LpNeurons(rows.alone, rows.full, rows.chunk_bytes, solver=self.solver, until=until)
        return Encoding(source(network, input_set, self.bounds.slope))

    def least(self, relaxation: Relaxation, forms: Forms, row: int) -> Optimum:
        """The least value of one form."""
        return relaxation.least(forms, row)

    def crown(self, relaxation: Relaxation, rows: Rows) -> Float[Tensor, "P Q"]:
        """CROWN's bounds of forms over the output at the same intermediate bounds."""
        known = relaxation.encoding.known
        return known.lower_bound(known.network.plan.output, rows)


@dataclass(frozen=True)
class LpNeurons(Tightest):
    """Hidden neurons by rows, and those that these leave unstable by linear programs over the layers before them; one sample.

    Attributes:
        solver: of the programs.
        until: `time.monotonic()` at which they stop; what is left keeps the bounds by rows.
    """

    solver: Solver = "auto"
    until: float = math.inf

    def refine(self, known: Known, step: Layer, slot: int) -> Interval:
        before = super().refine(known, step, slot)
        exact = known.input_set.is_box and slot in known.network.exact_on_boxes
        if slot == 0 or exact or not isinstance(step.op, Elementwise):
            return before
        index = (~step.op.linear(before)[0].flatten()).nonzero()[:, 0]
        if not len(index):
            return before
        encoding = Encoding(known)
        encoding.add_until(step.slot)
        forms = encoding.forms(slot, neurons(before, index))
        session = open_session(encoding.program, self.solver)
        ends = []
        for sign in (1.0, -1.0):
            found = []
            for row, (offset, lost) in enumerate(zip(forms.offset, forms.lost, strict=True)):
                cost = sign * forms.cost(row, encoding.program.count)
                found.append(solve(session, encoding, cost, sign * float(offset) - float(lost), self.until).bound)
            ends.append(below(torch.tensor(found, dtype=torch.float64), before.lower.dtype).to(before.lower.device))
        low, high = before.lower.flatten(), before.upper.flatten()
        low = low.index_put((index,), torch.maximum(low[index], ends[0])).view_as(before.lower)
        high = high.index_put((index,), torch.minimum(high[index], -ends[1])).view_as(before.upper)
        return Interval.ordered(low, high)


def below(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Float64 numbers in another precision, never rounded up."""
    near = values.to(dtype)
    return torch.where(near.double() > values, torch.nextafter(near, torch.full_like(near, -math.inf)), near)
