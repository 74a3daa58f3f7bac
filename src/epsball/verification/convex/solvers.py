"""HiGHS, through scipy or through its own Python package: the latter keeps its basis from one objective to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np

from epsball.errors import BadConfig, MissingExtra
from epsball.verification.convex.program import Array, Program

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


def _without_rows(program: Program, cost: Array) -> Solution:
    at = np.where(cost > 0, program.lower, program.upper)
    return Solution("optimal", np.where(cost == 0, np.clip(0.0, program.lower, program.upper), at), np.zeros(0))


class Scipy:
    """`scipy.optimize.linprog`: each objective starts from nothing."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def add(self, matrix: Any, low: Array, high: Array) -> None:
        self.program = self.program.with_rows(matrix, low, high)

    def minimise(self, cost: Array, seconds: float) -> Solution:
        from scipy.optimize import linprog

        p = self.program
        if not len(p.low):
            return _without_rows(p, cost)
        if seconds <= 0:
            return Solution("limit", None, np.zeros(len(p.low)))
        equal = p.low == p.high
        above, below = np.flatnonzero(~equal & np.isfinite(p.low)), np.flatnonzero(~equal & np.isfinite(p.high))
        at = np.flatnonzero(equal)
        from scipy import sparse

        found = linprog(
            cost,
            sparse.vstack((-p.matrix[above], p.matrix[below]), format="csr"),
            np.concatenate((-p.low[above], p.high[below])),
            p.matrix[at] if len(at) else None,
            p.low[at] if len(at) else None,
            np.stack((p.lower, p.upper), 1),
            method="highs",
            options={"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE}
            | ({"time_limit": seconds} if math.isfinite(seconds) else {}),
        )
        multipliers = np.zeros(len(p.low))
        if found.status == 0:
            multipliers[above] -= found.ineqlin.marginals[: len(above)]
            multipliers[below] += found.ineqlin.marginals[len(above) :]
            multipliers[at] = found.eqlin.marginals if len(at) else 0.0
        outcome: Outcome = "optimal" if found.status == 0 else "limit" if found.status == 1 else "failed"
        return Solution(outcome, found.x if found.status == 0 else None, multipliers)


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
        self._highs.passModel(lp)

    def add(self, matrix: Any, low: Array, high: Array) -> None:
        self.program = self.program.with_rows(matrix, low, high)
        self._highs.addRows(
            len(low), low, high, matrix.nnz, matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32), matrix.data
        )

    def minimise(self, cost: Array, seconds: float) -> Solution:
        p = self.program
        if not len(p.low):
            return _without_rows(p, cost)
        if seconds <= 0:
            return Solution("limit", None, np.zeros(len(p.low)))
        highs, names = self._highs, self._names
        highs.setOptionValue("time_limit", highs.getRunTime() + seconds)  # its clock runs over all objectives
        highs.changeColsCost(p.count, self._columns, cost)
        highs.run()
        status = highs.getModelStatus()
        found = highs.getSolution()
        multipliers = np.array(found.row_dual) if found.dual_valid else np.zeros(len(p.low))
        optimal, limit = names.HighsModelStatus.kOptimal, names.HighsModelStatus.kTimeLimit
        outcome: Outcome = "optimal" if status == optimal else "limit" if status == limit else "failed"
        return Solution(outcome, np.array(found.col_value) if found.value_valid else None, multipliers)
