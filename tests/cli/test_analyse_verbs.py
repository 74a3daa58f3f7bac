"""The verbs `analyse estimate` and `verify --method sdp`, on a small saved network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from epsball.cli.app import run
from epsball.models.base import Architecture
from epsball.models.store import save_model
from epsball.record.journal import read


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    architecture = Architecture("mlp", (1, 8, 8), 10, options={"hidden": (12, 12)})
    torch.manual_seed(0)
    return save_model(path, architecture.build(), architecture, {})


def _answer(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert run([*(str(a) for a in arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def _options(model: Path, index: str = ":3") -> tuple:
    return (model, "--data", "digits", "--index", index, "--eps", "1/16")


def test_an_estimate_is_recorded_as_one(capsys, model, tmp_path):
    few = ("--batches", "6", "--samples", "4", "--steps", "3")
    found = _answer(capsys, "analyse", "estimate", *_options(model), *few, "--out", tmp_path / "e")
    assert found["status"] == "estimate"
    lines = [line for line in read(tmp_path / "e" / "record.jsonl") if line["type"] == "estimate"]
    assert lines == found["estimates"]
    assert {line["status"] for line in lines} == {"estimate"}
    assert run(["analyse", "estimate", *(str(a) for a in _options(model)), *few, "--format", "table"]) == 0
    assert "estimates, not proofs" in capsys.readouterr().out


def test_sdp_is_a_method_of_verify(capsys, model, tmp_path):
    options = (*_options(model, ":4"), "--method", "sdp", "--timeout", "20", "--out", tmp_path / "v")
    found = _answer(capsys, "verify", *options)
    assert found["count"] == 4
    assert found["status"]["error"] == 0
    known = [line for line in read(tmp_path / "v" / "record.jsonl") if line["type"] == "instance"]
    assert all(set(line["bounds"]) <= {"sdp"} for line in known)
