"""`epsball predict`: the answers of the smoothed classifier, beside those that are counted here by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import epsball
from epsball.cli.app import run


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("predict") / "run"
    assert run(["train", "standard", "--data", "digits", "--model", "mlp", "--epochs", "4", "--batch", "64",
                "--set", "lr=2e-3", "--set", "milestones=[]", "--out", str(path), "--quiet"]) == 0  # fmt: skip
    return path


def test_answers_are_votes_and_abstentions(capsys, model, tmp_path):
    code, out, _ = call(
        capsys, "predict", model, "--data", "digits", "--index", ":12", "--sigma", "0.4", "--samples", "200", "--json"
    )
    assert code == 0
    answers = json.loads(out)["answers"]
    assert [one["index"] for one in answers] == list(range(12))
    for one in answers:
        first, second = sorted(one["counts"])[-2:][::-1]
        chance = binomtest(first, first + second, 0.5).pvalue
        assert (one["class"] is None) == (chance > 0.001)
        assert one["class"] is None or one["counts"][one["class"]] == first
        assert one["samples"] == 200
    smoothed = epsball.smooth(epsball.load(model), sigma=0.4)
    x = epsball.load_data("digits").test.inputs(slice(0, 12))
    assert [one["class"] for one in answers] == [one.label for one in smoothed.predict(x, 200, images=range(12))]
    np.save(tmp_path / "x.npy", x.numpy())
    more = ("--sigma", "0.4", "--samples", "200", "--json")
    code, out, _ = call(capsys, "predict", model, "--inputs", tmp_path / "x.npy", *more)
    assert code == 0
    assert json.loads(out)["answers"] == answers


def test_a_table_for_people(capsys, model):
    code, out, err = call(capsys, "predict", model, "--data", "digits", "--index", "3", "--samples", "100")
    assert code == 0
    assert "largest vote" in out
    assert "says nothing of perturbations" in err


def test_what_it_refuses(capsys, model, tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros((2, 1, 8, 8), dtype=np.uint8))
    np.save(tmp_path / "shape.npy", np.zeros((2, 3), dtype=np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "x.csv").write_text("1")
    torch.save(torch.zeros(1), tmp_path / "broken.npy")
    for name, told in (
        ("whole", "uint8"), ("shape", "BadShape"), ("objects", "pickle"), ("nowhere", "no array"), ("broken", "no array"),
    ):  # fmt: skip
        code, _, err = call(capsys, "predict", model, "--inputs", tmp_path / f"{name}.npy")
        assert code == 2, name
        assert told.lower() in err.lower(), err
        assert "Traceback" not in err
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 8, 8)))
    for more in (["--data", "digits"], ["--index", "3"]):
        code, _, err = call(capsys, "predict", model, "--inputs", tmp_path / "x.npy", *more)
        assert code == 2
        assert f"{more[0]} beside a file" in err
    for more, told in (
        (["--inputs", tmp_path / "x.csv"], ".csv file"),
        (["--data", "digits", "--samples", "3"], "can never answer"),
        (["--data", "digits", "--noise", "gausian"], "gaussian"),
    ):
        code, _, err = call(capsys, "predict", model, *more)
        assert code == 2
        assert told in err
