"""Nothing that a network can make of a linear program ends the process: hostile ones, in a process of their own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).resolve().parents[1] / "hostile_programs.py"
COUNT = 10_000 if os.environ.get("EPSBALL_TEST_ALL") else 100


@functools.cache
def _child(solver: str) -> tuple[dict[str, int], dict[str, int]]:
    """How the programs and the networks ended, in one process that lives to its end."""
    command = [sys.executable, str(CHILD), solver, "0", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}{done.stderr[-3000:]}"
    programs, networks = map(json.loads, done.stdout.splitlines()[-2:])  # a solver may print before
    return programs, networks


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["highspy", "scipy"])
def test_hostile_programs_end_no_process_and_prove_nothing_false(solver):
    ended, _ = _child(solver)
    assert ended["optimal"] > COUNT
    assert ended["failed"] > COUNT
    assert ended["proven"] > COUNT


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["highspy", "scipy"])
def test_operators_without_finite_bounds_are_unknown_or_falsified(solver):
    assert _child(solver)[1].keys() <= {"unknown", "falsified"}
