"""Ctrl-C from outside, on a real process: what was promised is printed, as text and as JSON, and the record can be gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from epsball.models.base import architecture
from epsball.models.store import save_model

COUNT = 60


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """A network on the digits; its weights are drawn, so that every step has something to do."""
    folder = tmp_path_factory.mktemp("net")
    described = architecture("mlp", (1, 8, 8), 10, None, None, hidden=[64, 64])
    torch.manual_seed(0)
    save_model(folder, described.build(), described, {})
    return folder


def _interrupted(net: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Certify, and send SIGINT as soon as the record holds two certificates."""
    options = ("--data", "digits", "--sigma", "0.3", "--index", f":{COUNT}", "--set", "cap=300000", "--out", str(out))
    process = subprocess.Popen(
        [sys.executable, "-m", "epsball", "certify", str(net), *options, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
    )  # fmt: skip
    record = out / "record.jsonl"
    while process.poll() is None and not (record.exists() and record.read_bytes().count(b"\n") > 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _whole(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "record.jsonl").read_text().splitlines()]
    assert lines[0]["type"] == "header"
    assert 2 <= sum(line["type"] == "certificate" for line in lines) < COUNT
    return lines


def test_ctrl_c_says_what_is_whole(net, tmp_path):
    done = _interrupted(net, tmp_path / "c", "--quiet")
    assert done.returncode == 130
    assert "Interrupted: interrupted; what was recorded so far is whole" in done.stderr
    assert "Fix: run again with --resume" in done.stderr
    assert "Traceback" not in done.stderr
    _whole(tmp_path / "c")


def test_ctrl_c_says_it_in_json(net, tmp_path):
    done = _interrupted(net, tmp_path / "c", "--json")
    assert done.returncode == 130
    found = json.loads(done.stdout)
    assert (found["schema"], found["exit_code"], found["error"]["kind"]) == ("epsball.error/1", 130, "Interrupted")
    assert "what was recorded so far is whole" in found["error"]["what"]
    assert done.stderr == ""
    _whole(tmp_path / "c")
