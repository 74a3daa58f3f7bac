"""`train --resume RUN --epochs N`: a finished run goes on, and becomes the very run that N epochs would have been."""

from __future__ import annotations

import json

import pytest
import torch

from epsball.cli.app import run
from epsball.config import load
from epsball.errors import BadConfig
from epsball.record.journal import read
from epsball.run.track import Trackers
from epsball.run.train import start
from epsball.storage import read_tensors

SHORT = ["--data", "digits", "--model", "mlp", "--eps", "0.02", "--set", "warmup=0", "--set", "ramp=1", "--set", "milestones=[1.5]"]


def train(*arguments: str) -> int:
    return run(["train", *arguments, "--quiet"])


def test_a_longer_run_is_the_run_of_so_many_epochs(tmp_path, capsys):
    short, whole = str(tmp_path / "short"), str(tmp_path / "whole")
    assert train("ibp", *SHORT, "--epochs", "2", "--out", short) == 0
    assert train("--resume", short, "--epochs", "4") == 0
    assert train("ibp", *SHORT, "--epochs", "4", "--out", whole) == 0
    one, two = (read_tensors(tmp_path / name / "checkpoint.safetensors")[0] for name in ("short", "whole"))
    assert one.keys() == two.keys()
    assert all(bool((one[name] == two[name]).all()) for name in one)
    models = [read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("short", "whole")]
    assert all(bool((models[0][name] == models[1][name]).all()) for name in models[0])
    lines = read(tmp_path / "short/record.jsonl")
    headers = [line for line in lines if line["type"] == "header"]
    assert [line.get("anyway", []) for line in headers] == [[], ["train.epochs"]]
    assert [line["epoch"] for line in lines if line["type"] == "epoch"] == [1, 2, 3, 4]
    assert [line["epochs"] for line in lines if line["type"] == "summary"] == [2, 4]
    capsys.readouterr()
    assert run(["train", "--resume", short, "--json"]) == 0, "the configuration is the longer one now"
    assert json.loads(capsys.readouterr().out)["epochs"] == 4
    assert run(["report", short, "--out", str(tmp_path / "page.html"), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--epochs", "1"], "the run has 2 epochs"),
        (["--epochs", "4", "--batch", "32"], "keeps its configuration"),
        (["--epochs", "none"], "valid integer"),
    ],
)
def test_what_does_not_go_on(tmp_path, capsys, more, told):
    short = tmp_path / "short"
    assert train("ibp", *SHORT, "--epochs", "2", "--out", str(short)) == 0
    before = (short / "record.jsonl").read_bytes(), (short / "config.toml").read_bytes()
    assert train("--resume", str(short), *more) == 2
    assert told in capsys.readouterr().err
    assert ((short / "record.jsonl").read_bytes(), (short / "config.toml").read_bytes()) == before


def test_a_shorter_run_is_another_run_also_before_its_first_checkpoint(tmp_path):
    short = tmp_path / "short"
    assert train("ibp", *SHORT, "--epochs", "2", "--out", str(short)) == 0
    (short / "checkpoint.safetensors").unlink()
    before = (short / "config.toml").read_bytes()
    config = load(short / "config.toml", ["train.epochs=1"])
    with pytest.raises(BadConfig, match="epochs = 2 there and 1 here"):
        start(config, short, Trackers(()), device=torch.device("cpu"), resume=True)
    assert (short / "config.toml").read_bytes() == before
