"""Run folders, checkpoints, history, trackers: what is refused, and that nothing whole is ever lost."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from epsball.device import reuse_memory
from epsball.errors import BadConfig, BadFile, DiskFull, RunInUse
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.folder import RunFolder
from epsball.record.history import current
from epsball.record.journal import FORMAT, read
from epsball.record.lines import EpochLine, HeaderLine, Line, MetricsLine, ReluLine, ResumeLine, SummaryLine
from epsball.run.accuracies import interval
from epsball.run.track import PlainTracker, RichTracker, Trackers, screen
from epsball.run.training_job import Job, load_state, train
from epsball.storage import read_tensors, write_tensors
from epsball.training.base import Diverged
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy, Scores
from epsball.training.recipes.ibp import IbpTraining

CONFIG = TrainConfig(epochs=3, batch=10, log_every=3, checkpoint_every=4, validation=0.2)


@cache
def network(width: int) -> Network:
    return Network.capture(nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2)), (4,))


def job(width: int = 6, config: TrainConfig = CONFIG) -> Job:
    net = network(width)
    data = Examples(torch.rand(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2)
    recipe = IbpTraining(0.05, warmup=0.5, ramp=1)
    return Job(net, recipe, data, config, IbpAccuracy(0.05), {"train": {"lr": config.lr}}, notes={"data": "random"})


def save(path: Path, module: nn.Module, description: dict) -> None:
    write_tensors(path, module.state_dict(), description)


def go(path: Path, what: Job | None = None, *, resume: bool = False) -> SummaryLine:
    with RunFolder(path, resume=resume) as folder:
        return train(what or job(), folder, save, screen(quiet=True))


@pytest.mark.slow
def test_a_run_and_its_record(tmp_path: Path) -> None:
    summary = go(tmp_path / "run")
    lines = read(tmp_path / "run" / "record.jsonl")
    kinds = [line["type"] for line in lines]
    assert kinds[0] == "header"
    assert kinds[-2:] == ["summary", "done"]
    assert kinds.count("epoch") == kinds.count("relu") == 3
    assert lines[-2] == summary.written()
    assert summary.verb == "train"
    assert summary.data == "random"
    assert summary.count == 12
    accuracy = summary.accuracy["clean"]
    assert accuracy.low < accuracy.value < accuracy.high
    tensors, described = read_tensors(tmp_path / "run" / "model.safetensors")
    assert described["training"] == summary.written()
    assert "0.weight" in tensors
    again = go(tmp_path / "run", resume=True)
    assert again == summary
    assert len(read(tmp_path / "run" / "record.jsonl")) == len(lines), "a finished run is left as it is"


def test_folders_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfig, match="this is a file"):
        RunFolder(tmp_path / "file")
    with pytest.raises(BadConfig, match="not empty and not a run"):
        RunFolder(tmp_path)
    with pytest.raises(BadConfig, match="not empty and not a run"):
        RunFolder(tmp_path, resume=True)
    RunFolder(tmp_path / "run").close()
    RunFolder(tmp_path / "run").close()  # nothing was recorded, so nothing can be lost
    (tmp_path / "run" / "record.jsonl").write_text('{"format": "epsball.run/1"}\n')
    with pytest.raises(BadConfig, match="holds a run already") as caught:
        RunFolder(tmp_path / "run")
    assert "--resume" in caught.value.fix
    RunFolder(tmp_path / "run", resume=True).close()
    assert (tmp_path / "file").read_text() == "x"


def test_a_run_in_use_names_the_process(tmp_path: Path) -> None:
    holder = (
        "import sys, pathlib; from epsball.record.folder import RunFolder\n"
        "folder = RunFolder(pathlib.Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(RunInUse, match=f"process {process.pid} is writing") as caught:
            RunFolder(path, resume=True)
        assert caught.value.exit_code == 3
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    RunFolder(path, resume=True).close()


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").close()
    left = tmp_path / "run" / ".checkpoint.safetensors.123.part"
    left.write_bytes(b"half")
    RunFolder(tmp_path / "run", resume=True).close()
    assert not left.exists()


def test_a_full_disk_leaves_the_older_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, count = os.fsync, []

    def full(descriptor: int) -> None:
        if "checkpoint" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            count.append(descriptor)
            if len(count) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="disk is full") as caught:
        go(tmp_path / "run")
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    assert load_state(tmp_path / "run" / "checkpoint.safetensors").step == 4
    assert not list((tmp_path / "run").glob(".*.part"))
    assert read(tmp_path / "run" / "record.jsonl")
    go(tmp_path / "run", resume=True)
    go(tmp_path / "whole")
    ours, theirs = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_limit_on_file_size_is_a_full_disk_too(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys, torch, pathlib\n"
        "from epsball.storage import write_tensors; from epsball.errors import DiskFull\n"
        "path = pathlib.Path(sys.argv[1]); write_tensors(path, {'a': torch.zeros(4)}, {})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_tensors(path, {'a': torch.zeros(4000)}, {})\n"
        "except DiskFull: print('full')"
    )
    path = tmp_path / "a.safetensors"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "full\n"
    assert read_tensors(path)[0]["a"].shape == (4,)


@pytest.mark.slow
def test_checkpoints_that_are_refused(tmp_path: Path) -> None:
    go(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.safetensors"
    whole = path.read_bytes()
    (tmp_path / "run" / "model.safetensors").unlink()  # so that there is something left to do
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="truncated or malformed"):
        go(tmp_path / "run", resume=True)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadFile, match="truncated or malformed"):
        go(tmp_path / "run", resume=True)
    save(path, nn.Linear(2, 2), {"format": "something else"})
    with pytest.raises(BadFile, match="not a training checkpoint of format"):
        go(tmp_path / "run", resume=True)
    save(path, nn.Linear(2, 2), {"format": "epsball.training/1"})
    with pytest.raises(BadFile, match="malformed training checkpoint"):
        go(tmp_path / "run", resume=True)
    path.write_bytes(whole)
    with pytest.raises(BadFile, match="another architecture"):
        go(tmp_path / "run", job(width=7), resume=True)
    go(tmp_path / "run", resume=True)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    go(tmp_path / "run")
    with pytest.raises(BadConfig, match=r"train.lr = 0.0005 there and 0.1 here"):
        go(tmp_path / "run", job(config=replace(CONFIG, lr=0.1)), resume=True)


def test_a_fault_on_the_test_set_keeps_the_model(tmp_path: Path) -> None:
    """Evaluated once at the end, the test set fails: the selected model is there all the same, and only the judging is left."""

    @dataclass(frozen=True)
    class Faulty(IbpAccuracy):
        def __call__(self, net: Network, data: Examples) -> Scores:
            if len(data) == 7:
                raise RuntimeError("out of memory")
            return super().__call__(net, data)

    what = replace(job(), test=Examples(torch.rand(7, 4), torch.arange(7) % 2))
    with pytest.raises(RuntimeError, match="out of memory"):
        go(tmp_path / "run", replace(what, evaluate=Faulty(0.05)))
    tensors, described = read_tensors(tmp_path / "run" / "model.safetensors")
    assert read(tmp_path / "run" / "record.jsonl")[-1]["type"] != "done"
    state = load_state(tmp_path / "run" / "checkpoint.safetensors")
    assert state.step == state.steps
    summary = go(tmp_path / "run", what, resume=True)
    assert summary.splits["test"].count == 7
    assert summary.selected.model_dump() == described["training"]["selected"]
    again, _ = read_tensors(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(again[name], tensors[name]) for name in again)


def test_other_examples_of_the_same_name_are_refused(tmp_path: Path) -> None:
    go(tmp_path / "run")
    held = (tmp_path / "run" / "record.jsonl").read_bytes()
    what = job()
    for other in (Examples(what.data.x + 0.01, what.data.y), Examples(what.data.x, 1 - what.data.y)):
        with pytest.raises(BadConfig, match="another data"):
            go(tmp_path / "run", replace(what, data=other), resume=True)
    with pytest.raises(BadConfig, match="another data"):
        go(tmp_path / "run", replace(what, test=what.data), resume=True)
    assert (tmp_path / "run" / "record.jsonl").read_bytes() == held


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    wild = replace(CONFIG, optimizer="sgd", lr=1e20, clip_norm=float("inf"), checkpoint_every=1, log_every=100)
    with pytest.raises(Diverged):
        go(tmp_path / "run", job(config=wild))
    path = tmp_path / "run" / "checkpoint.safetensors"
    if path.exists():
        assert all(t.isfinite().all() for t in load_state(path).model.values())
    assert read(tmp_path / "run" / "record.jsonl")[0]["type"] == "header"


def test_ctrl_c_is_acted_on_between_two_steps(tmp_path: Path) -> None:
    class Interrupting:
        def start(self, task: str, total: int, done: int = 0) -> None: ...

        def log(self, line: Line) -> None:
            if getattr(line, "step", None) == 6:
                os.kill(os.getpid(), signal.SIGINT)

        def finish(self) -> None: ...

    handler = signal.getsignal(signal.SIGINT)
    with RunFolder(tmp_path / "run") as folder, pytest.raises(KeyboardInterrupt):
        train(job(), folder, save, Interrupting())
    assert signal.getsignal(signal.SIGINT) is handler
    assert load_state(tmp_path / "run" / "checkpoint.safetensors").step == 6


def test_history_drops_what_was_taken_again() -> None:
    lines = [
        HeaderLine(format=FORMAT, verb="train"),
        MetricsLine(step=5),
        EpochLine(epoch=1, step=8),
        ReluLine(epoch=1, layers=[]),
        MetricsLine(step=10),
        ResumeLine(step=6),
        EpochLine(epoch=1, step=8),
    ]
    assert current(lines) == [lines[0], lines[1], lines[5], lines[6]]
    assert current(lines[:5]) == lines[:5]


def test_screens() -> None:
    line = EpochLine(epoch=2, step=8, clean=0.5, verified=0.25, verifier="ibp", split="validation", best=True)
    plain = io.StringIO()
    tracker = screen(stream=plain)
    assert isinstance(tracker, PlainTracker)
    tracker.start("training", 16, 4)
    tracker.log(MetricsLine(step=8, loss=1.0, eps=0.1))
    tracker.log(line)
    tracker.finish()
    assert plain.getvalue() == "training: step 4 of 16\nepoch   2  clean 50.00%  verified 25.00% (ibp, validation)  best\n"

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    tracker = screen(stream=terminal)
    assert isinstance(tracker, RichTracker)
    tracker.start("training", 16)
    tracker.log(MetricsLine(step=8, loss=1.0, eps=0.1))
    tracker.log(line)
    tracker.finish()
    assert "8/16" in terminal.getvalue()
    assert "verified 25.00%" in terminal.getvalue()
    silent = screen(quiet=True, stream=terminal)
    assert isinstance(silent, Trackers)
    assert silent.trackers == ()


def test_interval_is_clopper_pearson() -> None:
    from scipy.stats import binomtest

    for right, count in ((0, 7), (7, 7), (3, 10), (940, 1000)):
        exact = binomtest(right, count).proportion_ci(0.95, "exact")
        found = interval(right / count, count)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_memory_is_kept_on_linux() -> None:
    assert reuse_memory() == sys.platform.startswith("linux")
