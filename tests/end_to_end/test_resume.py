"""Killed at any moment, a run goes on to the very weights it would have reached."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest
import resume_child
import torch

from epsball.record.history import current
from epsball.record.journal import read
from epsball.record.lines import EpochLine, MetricsLine
from epsball.record.read import typed
from epsball.run import checkpoint
from epsball.storage import read_tensors

KILLS = 20


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Each process starts as a copy of one that has imported torch and captured the network."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resume_child"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server preloads before it is told the path
        ensure_running()
    return context


def start(server: ForkServerContext, path: Path, **options: bool) -> ForkServerProcess:
    process = server.Process(target=resume_child.run, args=(path,), kwargs=options)
    process.start()
    return process


def finish(server: ForkServerContext, path: Path) -> None:
    process = start(server, path)
    process.join(60)
    assert process.exitcode == 0


def kill_after(process: ForkServerProcess, path: Path, seconds: float) -> bool:
    """Kill a process some time after it has taken the lock; False if it ended by itself."""
    lock = path / ".lock"
    while process.is_alive() and not (lock.exists() and lock.read_text().strip() == str(process.pid)):
        time.sleep(0.001)
    time.sleep(seconds)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    return process.exitcode == -signal.SIGKILL


def check_record(path: Path) -> None:
    record = path / "record.jsonl"
    if record.exists() and b"\n" in record.read_bytes():
        lines = read(record)
        assert sum(line["type"] == "header" for line in lines) == 1
    if (path / "checkpoint.safetensors").exists():
        checkpoint.load(path / "checkpoint.safetensors")


def epochs(path: Path) -> list[dict[str, object]]:
    lines = current(typed(read(path / "record.jsonl"), path))
    return [line.model_dump(exclude={"seconds"}) for line in lines if isinstance(line, EpochLine)]


def test_killed_at_20_moments(server: ForkServerContext, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(server, whole)
    seconds = read(whole / "record.jsonl")[-2]["seconds"]
    moments, kills = random.Random(0), 0  # noqa: S311 - no secret

    doomed = start(server, killed, die_in_checkpoint=True)
    doomed.join(60)
    assert doomed.exitcode == -signal.SIGKILL
    assert list(killed.glob(".checkpoint*.part")), "it died while a checkpoint was being written"
    assert checkpoint.load(killed / "checkpoint.safetensors").step == 7, "the older one is whole"
    for kills in range(1, KILLS):
        process = start(server, killed)
        assert kill_after(process, killed, moments.uniform(0, seconds / 25)), f"it ended before kill {kills + 1}"
        check_record(killed)
    assert kills + 1 == KILLS
    finish(server, killed)

    ours, theirs = (read_tensors(path / "model.safetensors")[0] for path in (killed, whole))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    last, other = (checkpoint.load(path / "checkpoint.safetensors").pack()[0] for path in (killed, whole))
    assert all(torch.equal(last[name], other[name]) for name in other), "and so are optimizer, random state and best epoch"
    assert epochs(killed) == epochs(whole)
    assert not list(killed.glob(".*.part"))
    lines = read(killed / "record.jsonl")
    assert lines[-1]["type"] == "done"
    assert sum(line["type"] == "resume" for line in lines) >= KILLS - 5  # a kill may come before the record is open
    steps = [line.step for line in current(typed(lines, killed)) if isinstance(line, MetricsLine)]
    assert steps == sorted(set(steps))


def test_ctrl_c_leaves_a_checkpoint_of_that_step(server: ForkServerContext, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = start(server, stopped)
    while not (stopped / "record.jsonl").exists() or (stopped / "record.jsonl").read_bytes().count(b"\n") < 3:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 1
    state = checkpoint.load(stopped / "checkpoint.safetensors")
    assert 0 < state.step < state.steps
    assert read(stopped / "record.jsonl")[0]["type"] == "header"
    finish(server, stopped)
    finish(server, whole)
    ours, theirs = (read_tensors(path / "model.safetensors")[0] for path in (stopped, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
