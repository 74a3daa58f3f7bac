"""Runs tests on a changed copy of the package: torch is imported once, and each run is a fork of this process.

Nothing of epsball may be imported here: a child imports it from the copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
import scipy.stats
import torch

_HEAVY = (hypothesis, np, scipy.stats, torch)  # what a child need not import again
_WAIT = 4  # times the limit on CPU seconds: wall-clock time on a machine that others use


class Ended(NamedTuple):
    """How a run of the tests ended.

    Attributes:
        status: "passed", "failed" or "timeout".
        output: of pytest.
        seconds: wall-clock.
    """

    status: str
    output: str
    seconds: float


class Test(NamedTuple):
    """A test that passes on the code as it is.

    Attributes:
        name: pytest's.
        seconds: it takes.
        reached: functions of the files in question, as `file:qualified name`.
    """

    name: str
    seconds: float
    reached: frozenset[str]


@dataclass
class Watch:
    """A plugin of pytest that notes which functions each passing test calls."""

    root: str
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        reached: dict[Any, None] = {}

        def note(frame: FrameType, _event: str, _arg: object) -> None:
            reached[frame.f_code] = None

        started = time.process_time()
        sys.settrace(note)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            names = sorted(
                f"{c.co_filename[len(self.root) :]}:{c.co_qualname}" for c in reached if c.co_filename.startswith(self.root)
            )
            seconds = round(time.process_time() - started, 3)
            self.found.setdefault(item.nodeid, {"passed": True}).update(seconds=seconds, reached=names)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.found.setdefault(report.nodeid, {})["passed"] = False


def run(tree: Path, tests: Sequence[str], limit: int) -> Ended:
    """Run some tests in a tree until the first fails.

    Raises:
        RuntimeError: pytest did not run them, or they would have run on another tree.
    """
    if "epsball" in sys.modules:
        raise RuntimeError("epsball is imported already: a child would not import the copy")
    output, started = tree / "mutant.log", time.monotonic()
    child = os.fork()
    if child == 0:
        _test(tree, tests, limit, output, [])
    status = _wait(child, _WAIT * limit)
    text = output.read_text(errors="replace")
    seconds = time.monotonic() - started
    if os.WIFSIGNALED(status):
        spent = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return Ended("timeout" if spent else "failed", f"signal {os.WTERMSIG(status)}", seconds)
    code = os.waitstatus_to_exitcode(status)
    if code == pytest.ExitCode.OK:
        return Ended("passed", text, seconds)
    if code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED) or "ERROR collecting" in text or "ImportError" in text:
        return Ended("failed", text, seconds)
    raise RuntimeError(f"pytest ended with {code}:\n{text}")


def watch(tree: Path, paths: Sequence[str]) -> list[Test]:
    """Run whole files of tests on the code as it is."""
    found = tree / "reached.json"
    child = os.fork()
    if child == 0:
        watching = Watch(f"{tree}/src/epsball/")
        with contextlib.suppress(SystemExit):
            _test(tree, paths, 10**6, tree / "watch.log", [watching], exits=False)
        found.write_text(json.dumps(watching.found))
        os._exit(0)
    _wait(child, 10**6)
    tests = json.loads(found.read_text())
    return [
        Test(name, test["seconds"], frozenset(test["reached"]))
        for name, test in tests.items()
        if test.get("passed") and "reached" in test
    ]


def _test(tree: Path, tests: Sequence[str], limit: int, output: Path, plugins: list[Any], *, exits: bool = True) -> None:
    """In the child: never returns where it exits."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(tree)
    sys.path[:0] = [str(tree / "src")]
    os.environ["PYTHONPATH"] = str(tree / "src")  # of what a test starts
    # written bytecode is told by second and size: a mutant of the same second would be taken for another
    sys.dont_write_bytecode = exits
    until = ["-x"] if exits else ["--continue-on-collection-errors"]
    code = 1
    try:
        code = int(pytest.main(["-q", "--tb=line", "--show-capture=no", *until, *tests], plugins))
    finally:
        sys.stdout.flush()
        if exits:  # the parent's code must not run in a child, whatever happened
            os._exit(code)


def _wait(child: int, limit: float) -> int:
    """The child's status; killed, with all it started, where it takes too long."""
    stop, killed = time.monotonic() + limit, False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it left behind
            return status
        if time.monotonic() > stop and not killed:
            os.killpg(child, signal.SIGKILL)
            killed = True
        time.sleep(0.05)
