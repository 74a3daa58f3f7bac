"""Recipes for smoothing from the command line: training, seeds, record, report, certificates."""

from __future__ import annotations

import pytest
from test_verbs import answer, call

from epsball.record.journal import read

SMALL = ("--data", "digits", "--model", "lenet", "--epochs", "3", "--batch", "64", "--set", "lr=3e-3", "--set", "sigma=0.2")


def test_a_run_leaves_a_valid_record_that_can_be_reported_and_certified(capsys, tmp_path):
    run = tmp_path / "run"
    code, out, err = call(capsys, "train", "gaussian", *SMALL, "--out", run, "--format", "table")
    assert code == 0
    assert "lenet on digits, sigma 0.2" in out.replace("\n", "")
    assert "under noise, %" in out
    assert f"epsball certify {run} --data digits --sigma 0.2" in out.replace("\n", "")
    assert "noisy" in err
    assert "verified" not in err
    lines = read(run / "record.jsonl")
    epochs = [line for line in lines if line["type"] == "epoch"]
    assert all(0 <= line["noisy"] <= 1 and "verified" not in line for line in epochs)
    summary = next(line for line in lines if line["type"] == "summary")
    assert set(summary["accuracy"]) == {"clean", "noisy"}
    assert (summary["sigma"], summary["norm"], summary["eps"], summary["verified_by"]) == (0.2, "l2", None, {})
    assert {name: set(part) >= {"clean", "noisy"} for name, part in summary["splits"].items()} == dict.fromkeys(
        summary["splits"], True
    )
    assert summary["accuracy"]["noisy"]["value"] == max(line["noisy"] for line in epochs) > 0.3
    page = tmp_path / "report.html"
    assert call(capsys, "report", run, "--out", page)[0] == 0
    assert "percent under noise" in page.read_text()
    assert "Under noise %" in page.read_text()
    found = answer(capsys, "certify", run, "--data", "digits", "--sigma", "0.2", "--index", ":6", "--set", "cap=512")
    assert found["count"] == 6
    assert found["curve"][0]["accuracy"] > 0


def test_seeds_and_what_is_missing(capsys, tmp_path):
    options = ("--epochs", "1", "--set", "steps=2", "--set", "ramp=1", "--seeds", "2")
    found = answer(capsys, "train", "smoothmix", *SMALL, *options, "--out", tmp_path / "a")
    values = [run["noisy"] for run in found["runs"]]
    assert found["accuracy"]["noisy"]["value"] == pytest.approx(sum(values) / 2)
    assert "verified" not in found["accuracy"]
    code, _, err = call(capsys, "train", "macer", *SMALL[:-2], "--out", tmp_path / "b")
    assert code == 2
    assert "--set sigma=" in err
    assert not (tmp_path / "b").exists()
