"""Nothing that a network can make of a linear program ends the process: hostile ones, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).resolve().parents[1] / "hostile_programs.py"
COUNT = 10_000 if os.environ.get("EPSBALL_TEST_ALL") else 100


def _child(*arguments: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, str(CHILD), *arguments], capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("solver", ["highspy", "scipy"])
def test_hostile_programs_end_no_process_and_prove_nothing_false(solver):
    ended = _child(solver, "0", str(COUNT))
    assert ended["optimal"] > COUNT
    assert ended["failed"] > COUNT
    assert ended["proven"] > COUNT


@pytest.mark.parametrize("solver", ["highspy", "scipy"])
def test_operators_without_finite_bounds_are_unknown_or_falsified(solver):
    assert _child(solver, "networks").keys() <= {"unknown", "falsified"}
