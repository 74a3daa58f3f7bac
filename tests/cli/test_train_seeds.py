"""`epsball train` with a published setting and with several seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from test_verbs import answer, call

from epsball.record.journal import read

SMALL = ("--data", "digits", "--model", "mlp", "--epochs", "2", "--batch", "64", "--set", "warmup=0", "--set", "ramp=1")


def test_seeds_give_mean_and_deviation_and_can_be_resumed(capsys, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    found = answer(capsys, "train", "fast-ibp", "--eps", "1/16", *SMALL, "--seeds", "2", "--out", out)
    values = [found["accuracy"]["verified"]["value"], *(run["verified"] for run in found["runs"])]
    assert values[0] == pytest.approx(sum(values[1:]) / 2)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    each = [read(out / f"seed-{seed}" / "record.jsonl") for seed in (0, 1)]
    assert [lines[0]["seed"] for lines in each] == [0, 1]
    assert read(out / "record.jsonl")[-1]["type"] == "done"
    shutil.rmtree(out / "seed-1")
    again = answer(capsys, "train", "--resume", out)
    assert again["accuracy"] == found["accuracy"]
    code, _, err = call(capsys, "train", "fast-ibp", "--eps", "1/16", *SMALL, "--seeds", "2", "--out", out)
    assert code == 2
    assert "Fix:" in err


def test_seeds_that_collide_are_refused(capsys, tmp_path: Path) -> None:
    code, _, err = call(capsys, "train", "fast-ibp", "--eps", "0.1", *SMALL, "--seeds", "1,1", "--out", tmp_path / "x")
    assert code == 2
    assert "stands twice" in err
    assert not (tmp_path / "x").exists()


def test_a_setting_by_name_takes_overrides(capsys, tmp_path: Path) -> None:
    extra = ("--set", "milestones=[1]", "--seed", "4", "--protocol", "literature")
    found = answer(capsys, "train", "thesis-mnist-0.1", *SMALL, *extra, "--out", tmp_path / "run")
    assert (found["data"], found["model"], found["epochs"], found["eps"]) == ("digits", "mlp", 2, 0.1)
    assert (found["protocol"], found["split"]) == ("literature", "test")
    assert json.loads((tmp_path / "run" / "record.jsonl").read_text().split("\n")[0])["seed"] == 4


def test_settings_are_listed_shown_and_suggested(capsys) -> None:
    listed = answer(capsys, "list", "settings")["entries"]
    assert "Fast-IBP, MNIST at 0.3" in listed["thesis-mnist-0.3"]
    code, out, _ = call(capsys, "show", "setting", "thesis-mnist-0.3")
    assert code == 0
    assert "milestones = [50, 60]" in out
    code, _, err = call(capsys, "train", "thesis-mnist-0.33")
    assert code == 2
    assert "did you mean 'thesis-mnist-0.3'" in err
