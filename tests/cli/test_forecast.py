"""`--memory` and `--dry-run`: what a run takes is shown before it, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from epsball.cli.app import run
from epsball.cli.common import Output
from epsball.cli.forecast import announce, memory
from epsball.errors import BadConfig


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    code = run(["train", "fast-ibp", "--data", "digits", "--model", "mlp", "--eps", "1/16", "--epochs", "1", "--batch", "256",
                "--set", "warmup=0", "--set", "ramp=1", "--out", str(path), "--quiet"])  # fmt: skip
    assert code == 0
    return path


def _said(capsys, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("text", "count"), [("2GiB", 2**31), ("500MB", 500_000_000), ("1.5 KiB", 1536), ("4096", 4096), ("3g", 3_000_000_000)]
)
def test_an_amount_of_memory(text, count):
    assert memory(text) == count


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "2XB", "GiB"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(BadConfig, match="no amount of memory"):
        memory(text)


@pytest.mark.parametrize(("verb", "methods"), [("verify", ["ibp", "crown-ibp", "crown"]), ("bounds", ["ibp", "crown"])])
def test_a_dry_run_shows_the_estimate_and_writes_nothing(capsys, trained, verb, methods, tmp_path):
    before = sorted(trained.rglob("*"))
    common = (verb, trained, "--data", "digits", "--index", ":40", "--eps", "1/16", "--dry-run", "--out", tmp_path / "new")
    code, out, err = _said(capsys, *common, "--json")
    assert code == 0, out + err
    found = json.loads(out)
    assert found["schema"] == "epsball.forecast/1"
    assert found["count"] == 40
    assert [line["method"] for line in found["methods"]] == methods
    assert all(line["least_bytes"] > 0 and 2**31 >= line["bytes"] > 0 for line in found["methods"])
    assert found["methods"][-1]["forward_passes"] > found["methods"][0]["forward_passes"] > 0
    code, out, _ = _said(capsys, *common)
    assert code == 0
    assert "forward passes" in out
    assert not (tmp_path / "new").exists()
    assert sorted(trained.rglob("*")) == before


def test_a_small_budget_changes_no_verdict_and_too_small_a_one_is_refused(capsys, trained, tmp_path):
    options = ("verify", trained, "--data", "digits", "--index", ":40", "--eps", "1/16", "--json")
    code, out, err = _said(capsys, *options, "--out", tmp_path / "whole")
    assert code == 0, out + err
    whole = json.loads(out)
    code, out, _ = _said(capsys, *options, "--memory", "3MB", "--out", tmp_path / "small")
    assert code == 0, out
    small = json.loads(out)
    assert small["status"] == whole["status"]
    assert small["verified_by"] == whole["verified_by"]
    code, out, _ = _said(capsys, *options, "--memory", "2kB", "--out", tmp_path / "none")
    assert code == 2
    error = json.loads(out)["error"]
    assert "too small for one row" in error["what"]
    assert "bytes" in error["what"]
    assert not (tmp_path / "none").exists()


def test_layers_in_parts_are_the_same_layers(capsys, trained):
    found = []
    for size in ("2GiB", "3MB"):
        options = ("--data", "digits", "--index", ":60", "--eps", "1/16", "--memory", size, "--json")
        code, out, err = _said(capsys, "bounds", trained, *options)
        assert code == 0, out + err
        found.append(json.loads(out)["layers"])
    for one, other in zip(*found, strict=True):
        assert one["unstable"] == pytest.approx(other["unstable"], abs=1e-6)
        assert one["width"] == pytest.approx(other["width"], rel=1e-5)


def test_a_long_run_is_announced_and_a_short_one_is_not(capsys):
    output = Output(as_json=False, quiet=False)
    line = {"method": "crown", "seconds": 4000.0, "bytes": 3 * 2**20}
    announce(output, [line | {"seconds": 1.0}])
    assert capsys.readouterr().err == ""
    announce(output, [line])
    assert "about 4000 s (crown 4000 s) within 3 MiB" in capsys.readouterr().err


def test_bounds_by_named_methods(capsys, trained):
    options = ("bounds", trained, "--data", "digits", "--index", ":4", "--eps", "1/16", "--json")
    code, out, _ = _said(capsys, *options, "--method", "zonotope,crown-ibp")
    assert code == 0
    lines = json.loads(out)["layers"]
    assert list(dict.fromkeys(line["method"] for line in lines)) == ["zonotope", "crown-ibp"]
    code, out, _ = _said(capsys, *options, "--method", "zonotope,crown-forward", "--dry-run")
    costs = json.loads(out)["methods"]
    assert [line["method"] for line in costs] == ["zonotope", "crown-forward"]
    assert all(line["forward_passes"] > 0 for line in costs)
    for name, says in (("crwon", "did you mean 'crown"), ("ibp,ibp", "once")):
        code, out, _ = _said(capsys, *options, "--method", name)
        error = json.loads(out)["error"]
        assert code == 2
        assert error["where"] == "--method"
        assert says in error["what"] + error["fix"]
