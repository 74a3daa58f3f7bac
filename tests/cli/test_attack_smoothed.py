"""`epsball attack --sigma`: the smoothed classifier, its record, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from epsball.cli.app import run
from epsball.cli.target import Balls, Setup
from epsball.record.journal import read
from epsball.reporting.runs import read_runs
from epsball.reporting.tables import headlines
from epsball.run.attack_smoothed import smooth_assault
from epsball.smoothing.attack import SmoothPGD, SmoothResult
from epsball.smoothing.core import Smoothed
from epsball.smoothing.log import ABSTAINED


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net"
    few = ("--epochs", "3", "--batch", "64", "--set", "model.hidden=[32]", "--set", "lr=5e-3", "--set", "sigma=0.25")
    assert run(["train", "gaussian", "--data", "digits", "--model", "mlp", *few, "--out", str(path), "--quiet"]) == 0
    return path


def answer(capsys, *arguments: object, code: int = 0) -> dict:
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


FEW = ("--set", "steps=5", "--set", "samples=8", "--set", "votes=200")


def test_a_larger_ball_breaks_more_and_an_empty_one_nothing(capsys, model, tmp_path):
    options = ("attack", model, "--data", "digits", "--index", ":40", "--sigma", "0.25", "--norm", "l2", *FEW)
    found = [answer(capsys, *options, "--eps", eps) for eps in ("0", "1", "4")]
    clean = [f["accuracy"]["clean"] for f in found]
    assert clean[0] == clean[1] == clean[2]
    assert clean[0]["value"] > 0.5
    shares = [f["success"]["value"] for f in found]
    assert shares[0] == 0 < shares[1] < shares[2]
    assert found[0]["accuracy"]["attacked"] == clean[0]
    assert all((f["sigma"], f["votes"], f["alpha"], f["norm"]) == (0.25, 200, 0.001, "l2") for f in found)


def test_nothing_is_broken_inside_a_certified_radius(capsys, model):
    smooth = ("--data", "digits", "--index", ":6", "--sigma", "0.25")
    answer(capsys, "certify", model, *smooth, "--procedure", "fixed", "--set", "n=1000", "--out", model / "c")
    lines = [line for line in read(model / "c" / "record.jsonl") if line["type"] == "certificate"]
    right = [line for line in lines if line["predicted"] == line["label"] and line["radius"] > 0]
    assert len(right) > 2
    for line in right[:2]:
        options = (*smooth[:2], "--index", line["index"], *smooth[4:], "--eps", line["radius"])
        assert answer(capsys, "attack", model, *options, *FEW)["success"]["value"] == 0


def test_the_record_agrees_with_the_summary_and_is_no_attack_on_the_base_network(capsys, model, tmp_path):
    options = ("--data", "digits", "--index", ":40", "--norm", "l2", "--eps", "1")
    found = answer(capsys, "attack", model, *options, "--sigma", "0.25", *FEW, "--out", tmp_path / "a")
    header, *lines, summary, done = read(tmp_path / "a" / "record.jsonl")
    assert header["config"]["attack"]["method"] == "SmoothPGD"
    assert header["config"]["noise"] == summary["noise"] == "Gaussian(sigma=0.25)"
    assert done["type"] == "done"
    assert {line["type"] for line in lines} == {"smooth-attack"}
    tried = [line for line in lines if line["attacked"]]
    assert all(line["predicted"] == line["label"] for line in tried)
    assert all("success" not in line and line["predicted"] != line["label"] for line in lines if not line["attacked"])
    assert all(line["success"] == (line["adversarial"] not in (None, line["label"])) for line in tried)
    assert all(line["distance"] <= 1 + 1e-5 for line in tried)
    assert found["success"]["value"] == sum(line["success"] for line in tried) / len(tried)
    assert found["abstained_under_attack"] == sum(line["adversarial"] is None for line in tried)
    answer(capsys, "verify", model, *options, "--method", "ibp", "--out", tmp_path / "v")
    first, second = headlines(read_runs([tmp_path / "v", tmp_path / "a"]))
    assert first.run.name == "v"
    assert first.attacked_by is None or first.attacked_by.name == "v"
    assert "smoothed by Gaussian(sigma=0.25)" in second.run.title


def test_an_abstention_is_no_success(model):
    case = Balls(model, "digits", ":10", "1", "l2").case(Setup())

    class Undecided(SmoothPGD):
        def __call__(self, smoothed, x, y, eps, *, images=None):
            unsure = torch.full_like(y, ABSTAINED)
            return SmoothResult(x, torch.zeros(len(x)), (unsure != y) & (unsure != ABSTAINED), unsure)

    summary, lines = smooth_assault(case, Smoothed(case.network.module, 0.25, 10), Undecided(votes=200), None)
    tried = [line for line in lines if line.attacked]
    assert tried
    assert all(line.adversarial is None and not line.success for line in tried)
    assert summary.abstained_under_attack == len(tried)
    assert summary.success.value == 0
    assert summary.accuracy["attacked"] == summary.accuracy["clean"]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (("--sigma", "0"), None),
        (("--sigma", "-1"), None),
        (("--sigma", "much"), "--sigma"),
        (("--sigma", "1", "--norm", "linf"), "--norm linf"),
        (("--sigma", "1", "--attack", "pgd"), "--attack pgd"),
        (("--sigma", "1", "--perturbation", "patch", "--size", "2"), "--perturbation patch"),
        (("--sigma", "1", "--set", "steps=0"), None),
        (("--sigma", "1", "--set", "alpha=2"), None),
        (("--sigma", "1", "--set", "vote=2"), "attack.vote"),
        (("--sigma", "1", "--eps", "-1"), "--eps"),
    ],
)
def test_bad_input_is_one_error_and_no_folder(capsys, model, tmp_path, options, where):
    error = answer(capsys, "attack", model, "--data", "digits", *options, "--out", tmp_path / "a", code=2)["error"]
    assert error["kind"] == "BadConfig"
    assert error["fix"]
    assert where is None or error["where"] == where
    assert not (tmp_path / "a").exists()
