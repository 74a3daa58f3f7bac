"""A program that presolve leaves in numerical trouble is solved again without it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
from scipy import sparse

from epsball.verification.programs.program import Program
from epsball.verification.programs.solvers import open_session


def _program() -> Program:
    """0 <= v <= 1, v_0 + v_1 >= 1: the least of v_0 + 2 v_1 is 1, at (1, 0)."""
    return Program.over(np.zeros(2), np.ones(2)).with_rows(sparse.csr_matrix([[1.0, 1.0]]), np.array([1.0]), np.array([math.inf]))


class _Troubled:
    """highspy that does not get through as long as it may presolve."""

    def __init__(self, highs) -> None:
        self._highs, self.presolve = highs, "choose"

    def __getattr__(self, name):
        return getattr(self._highs, name)

    def setOptionValue(self, option, value):  # noqa: N802 - highspy's own name
        if option == "presolve":
            self.presolve = value
        return self._highs.setOptionValue(option, value)

    def run(self):
        import highspy

        self._highs.run()
        kinds = highspy.HighsModelStatus
        self.status = kinds.kUnknown if self.presolve == "choose" else self._highs.getModelStatus()

    def getModelStatus(self):  # noqa: N802 - highspy's own name
        return self.status


def test_highspy_tries_without_presolve():
    pytest.importorskip("highspy")
    session = open_session(_program(), "highspy")
    session._highs = _Troubled(session._highs)
    found = session.minimise(np.array([1.0, 2.0]), math.inf)
    assert found.outcome == "optimal"
    np.testing.assert_allclose(found.v, [1.0, 0.0], atol=1e-9)
    assert session._highs.presolve == "choose"  # the next objective may presolve again


@pytest.mark.parametrize("seconds", [math.inf, 60.0])
def test_scipy_tries_without_presolve(monkeypatch, seconds):
    real, seen = scipy.optimize.linprog, []

    def troubled(*args, options, **given):
        seen.append(options["presolve"])
        found = real(*args, options=options, **given)
        if options["presolve"]:
            found.status = 4
        return found

    monkeypatch.setattr(scipy.optimize, "linprog", troubled)
    found = open_session(_program(), "scipy").minimise(np.array([1.0, 2.0]), seconds)
    assert seen == [True, False]
    assert found.outcome == "optimal"
    np.testing.assert_allclose(found.v, [1.0, 0.0], atol=1e-9)


def test_what_fails_twice_has_failed():
    """No point satisfies v_0 + v_1 >= 3 in the unit box."""
    impossible = Program.over(np.zeros(2), np.ones(2)).with_rows(
        sparse.csr_matrix([[1.0, 1.0]]), np.array([3.0]), np.array([math.inf])
    )
    for solver in ("scipy", "auto"):
        assert open_session(impossible, solver).minimise(np.ones(2), math.inf).outcome == "failed"
