"""HiGHS, through scipy or through its own Python package: the latter keeps its basis from one objective to the next."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np

from epsball.errors import BadConfig, MissingExtra
from epsball.verification.programs.program import Array, Program, usable, workable

Solver = Literal["auto", "scipy", "highspy"]
Outcome = Literal["optimal", "limit", "failed"]
_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver says. Nothing of it is believed: a bound is proven from the multipliers, a witness is evaluated.

    Attributes:
        outcome: optimal; limit (time); failed (infeasible, unbounded, numerical trouble).
        v: (N,) the variables, or None.
        multipliers: (M,) of the rows; zeros where there are none.
    """

    outcome: Outcome
    v: Array | None
    multipliers: Array


class Session(Protocol):
    """One program and a solver for it."""

    program: Program

    def minimise(self, cost: Array, seconds: float) -> Solution:
        """The least of `cost v`."""
        ...

    def add(self, matrix: Any, low: Array, high: Array) -> None:
        """More rows, from now on."""
        ...


def open_session(program: Program, solver: Solver) -> Session:
    """A solver at work on a program.

    Raises:
        BadConfig: an unknown solver.
        MissingExtra: highspy is asked for and not installed.
    """
    if solver == "auto":
        solver = "highspy" if find_spec("highspy") else "scipy"
    if solver == "scipy":
        return Scipy(program)
    if solver != "highspy":
        raise BadConfig(f"unknown solver {solver!r}", fix="use auto, scipy or highspy")
    if find_spec("highspy") is None:
        raise MissingExtra("the solver highspy is not installed", fix="pip install 'epsball[verify]', or use solver='scipy'")
    return Highs(program)


def _early(program: Program, cost: Array, seconds: float) -> Solution | None:
    """What needs no solver, or must not reach one."""
    none = np.zeros(len(program.low))
    if not workable(cost):
        return Solution("failed", None, none)
    if not len(program.low):
        at = np.where(cost > 0, program.lower, program.upper)
        v = np.where(cost == 0, np.clip(0.0, program.lower, program.upper), at)
        return Solution("optimal", v, none) if np.isfinite(v).all() else Solution("failed", None, none)
    return Solution("limit", None, none) if seconds <= 0 else None


def _told(program: Program, outcome: Outcome, v: Array | None, multipliers: Array | None) -> Solution:
    """A solver's words, as far as they fit the program."""
    m = np.zeros(len(program.low)) if multipliers is None or len(multipliers) != len(program.low) else multipliers
    if v is not None and not (len(v) == program.count and np.isfinite(v).all()):
        v = None
    return Solution(outcome if v is not None or outcome != "optimal" else "failed", v, m)


class Scipy:
    """`scipy.optimize.linprog`: each objective starts from nothing."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def add(self, matrix: Any, low: Array, high: Array) -> None:
        self.program = self.program.with_rows(matrix, low, high)

    def minimise(self, cost: Array, seconds: float) -> Solution:
        p = self.program
        early = _early(p, cost, seconds)
        if early is not None:
            return early
        equal = p.low == p.high
        above, below = np.flatnonzero(~equal & np.isfinite(p.low)), np.flatnonzero(~equal & np.isfinite(p.high))
        at = np.flatnonzero(equal)
        from scipy import sparse

        found = _linprog(
            seconds,
            c=cost,
            A_ub=sparse.vstack((-p.matrix[above], p.matrix[below]), format="csr"),
            b_ub=np.concatenate((-p.low[above], p.high[below])),
            A_eq=p.matrix[at] if len(at) else None,
            b_eq=p.low[at] if len(at) else None,
            bounds=np.stack((p.lower, p.upper), 1),
        )
        multipliers = np.zeros(len(p.low))
        if found.status == 0:
            multipliers[above] -= found.ineqlin.marginals[: len(above)]
            multipliers[below] += found.ineqlin.marginals[len(above) :]
            multipliers[at] = found.eqlin.marginals if len(at) else 0.0
        outcome: Outcome = "optimal" if found.status == 0 else "limit" if found.status == 1 else "failed"
        return _told(p, outcome, found.x if found.status == 0 else None, multipliers)


def _linprog(seconds: float, **program: Any) -> Any:
    """HiGHS by scipy, again without presolve where that ended in numerical trouble."""
    from scipy.optimize import linprog

    options: dict[str, Any] = {"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE}
    until = time.monotonic() + seconds
    for presolve in (True, False):
        left = {"time_limit": max(0.0, until - time.monotonic())} if math.isfinite(seconds) else {}
        found = linprog(**program, method="highs", options=options | left | {"presolve": presolve})
        if found.status in (0, 1):
            break
    return found


class Highs:
    """`highspy`: objectives change in place, and the last basis is the next start."""

    def __init__(self, program: Program) -> None:
        import highspy

        self.program = program
        self._names = highspy
        self._columns = np.arange(program.count, dtype=np.int32)
        make: Any = highspy.Highs
        self._highs = make()
        for option, value in (
            ("output_flag", False),
            ("threads", 1),
            ("solver", "simplex"),
            ("primal_feasibility_tolerance", _TOLERANCE),
            ("dual_feasibility_tolerance", _TOLERANCE),
        ):
            self._highs.setOptionValue(option, value)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = program.count, len(program.low)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(program.count), program.lower, program.upper
        lp.row_lower_, lp.row_upper_ = program.low, program.high
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = program.matrix.indptr
        lp.a_matrix_.index_, lp.a_matrix_.value_ = program.matrix.indices, program.matrix.data
        self._refused = self._highs.passModel(lp) == highspy.HighsStatus.kError

    def add(self, matrix: Any, low: Array, high: Array) -> None:
        matrix, low, high = usable(matrix, low, high)
        self.program = self.program.with_rows(matrix, low, high)
        starts, columns = matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32)
        status = self._highs.addRows(len(low), low, high, matrix.nnz, starts, columns, matrix.data)
        self._refused |= status == self._names.HighsStatus.kError

    def minimise(self, cost: Array, seconds: float) -> Solution:
        p = self.program
        early = _early(p, cost, seconds)
        if early is not None:
            return early
        highs, names = self._highs, self._names
        if self._refused:  # it holds another program than we do
            return Solution("failed", None, np.zeros(len(p.low)))
        highs.setOptionValue("time_limit", highs.getRunTime() + seconds)  # its clock runs over all objectives
        highs.changeColsCost(p.count, self._columns, cost)
        highs.run()
        optimal, limit = names.HighsModelStatus.kOptimal, names.HighsModelStatus.kTimeLimit
        if highs.getModelStatus() not in (optimal, limit):  # without presolve the simplex method gets through
            highs.setOptionValue("presolve", "off")
            highs.clearSolver()
            highs.run()
            highs.setOptionValue("presolve", "choose")
        status = highs.getModelStatus()
        found = highs.getSolution()
        outcome: Outcome = "optimal" if status == optimal else "limit" if status == limit else "failed"
        v, multipliers = (
            np.array(part) if valid else None
            for part, valid in ((found.col_value, found.value_valid), (found.row_dual, found.dual_valid))
        )
        return _told(p, outcome, v, multipliers)
