"""Progress off a terminal: at most a line every few seconds, and one as often inside a long step."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from test_verbs import trained  # noqa: F401 - the fixture
from torch import nn

from epsball.cli.common import Output
from epsball.cli.progress import ProgressLines
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import LpBall
from epsball.record.lines import EpochLine, MetricsLine
from epsball.run.track import PlainTracker
from epsball.verification.heard import listening
from epsball.verification.ladder import Ladder


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_five_seconds_with_the_step_and_its_time():
    said, clock = [], Clock()
    lines = ProgressLines("verifying", said.append, clock=clock)
    for second in range(100):
        clock.now = second / 10
        lines(second, 100)
    assert said == ["verifying: 50 of 100; 5 s"]
    lines.step("crown", 1, 20)
    clock.now = 11.0
    lines.step("multi-neuron", 3, 20)
    clock.now = 23.0
    lines.tell()
    assert said[1:] == ["verifying: 99 of 100; sample 3 of 20, multi-neuron, 0 s",
                        "verifying: 99 of 100; sample 3 of 20, multi-neuron, 12 s"]  # fmt: skip


def test_what_takes_long_is_heard_of_meanwhile():
    said = []
    lines = ProgressLines("verifying", said.append, every=0.1)
    with lines.running():
        lines.step("sdp", 2, 5)
        time.sleep(0.55)
    assert 2 <= len(said) <= 5
    assert set(said) == {"verifying: sample 2 of 5, sdp, 0 s", "verifying: sample 2 of 5, sdp, 1 s"} & set(said)
    count = len(said)
    time.sleep(0.2)
    assert len(said) == count  # the thread is gone


def test_a_short_run_says_nothing_and_a_quiet_one_never(capsys):
    for output in (Output(), Output(quiet=True), Output(as_json=True)):
        with output.progress("verifying") as told:
            told(1, 2)
            told.step("crown", 1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", ["crown", "lp", "multi-neuron", "sdp"])
def test_every_step_tells_each_sample(method):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    network = Network.capture(module, (4,))
    x = torch.rand(3, 4)
    y = module(x).argmax(1)
    heard = []
    with listening(lambda *told: heard.append(told)):
        Ladder(("clean", method), everywhere=(method,))(
            Problem(network.prepare(), LpBall(x, 0.3), robust(y, 3, torch.float32)), Budget()
        )
    own = [told for told in heard if told[0] == method]
    assert own[:3] == ([(method, 1, 3)] if method == "crown" else [(method, i, 3) for i in (1, 2, 3)])
    heard.clear()
    Ladder(("clean", "crown"))(Problem(network.prepare(), LpBall(x, 0.3), robust(y, 3, torch.float32)), Budget())
    assert heard == []


def test_epochs_are_told_every_few_seconds_and_the_last_always():
    stream, clock = io.StringIO(), Clock()
    tracker = PlainTracker(stream, clock)
    tracker.start("training", 90)
    for epoch in range(30):
        clock.now = epoch / 2
        tracker.log(
            EpochLine(epoch=epoch, step=epoch * 3, clean=0.5, verified=0.25, verifier="ibp", split="validation", best=False)
        )
    tracker.finish()
    told = [line.split()[:2] for line in stream.getvalue().splitlines()]
    assert told == [["training:", "step"], ["epoch", "10"], ["epoch", "20"], ["epoch", "29"]]
    clock.now += 30
    tracker.log(MetricsLine(step=80, loss=1.0, eps=0.1))
    assert stream.getvalue().splitlines()[-1] == "training: step 80 of 90  loss 1.0000  eps 0.1"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lp", "multi-neuron", "sdp"])
def test_ctrl_c_within_a_long_step(trained, tmp_path, method):  # noqa: F811
    """The thread that tells must not keep the first one from its interrupt."""
    often = "progress.ProgressLines.__init__.__kwdefaults__['every'] = 0.2"
    code = f"from epsball.cli import progress; {often}; from epsball.cli.app import main; main()"
    options = ("--data", "digits", "--eps", "1/4", "--index", ":300", "--method", method, "--out", str(tmp_path / "v"))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "verify", str(trained), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    told = ""
    while f", {method}, " not in told:
        told = process.stderr.readline()
        assert told, "it ended before the step was told"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert time.monotonic() - began < 20
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr
