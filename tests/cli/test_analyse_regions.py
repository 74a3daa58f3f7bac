"""`epsball analyse regions`: the same votes as `epsball certify`, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_verbs import answer, call

from epsball.cli.app import run
from epsball.record.journal import read


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "plain"
    options = ("--data", "digits", "--model", "mlp", "--epochs", "2", "--batch", "64", "--set", "lr=2e-3")
    assert run(["train", "standard", *options, "--out", str(path), "--quiet"]) == 0
    return path


def test_it_certifies_what_certify_does_and_the_report_draws_it(capsys, trained, tmp_path):
    options = ("--resolution", "16", "--samples", "1000")
    found = answer(capsys, "analyse", "regions", trained, "--index", "3", "--sigma", "0.25", *options)
    folder = Path(found["run"])
    assert folder == trained / "regions-digits-3-0.25"
    fixed = ("--procedure", "fixed", "--set", "n=1000", "--out", tmp_path / "c")
    answer(capsys, "certify", trained, "--data", "digits", "--index", "3", "--sigma", "0.25", *fixed)
    certificate = next(line for line in read(tmp_path / "c" / "record.jsonl") if line["type"] == "certificate")
    assert found["votes"] == certificate["counts"][:-1]
    assert (found["radius"], found["smoothed"], found["p_a"]) == tuple(certificate[k] for k in ("radius", "predicted", "lower"))
    line = next(line for line in read(folder / "record.jsonl") if line["type"] == "regions")
    half = 8 * 16 + 8
    assert line["predicted"] in {line["classes"][k] for k in (half, half - 1, half - 16, half - 17)}  # the four cells around x
    code, _, _ = call(capsys, "report", folder, "-o", tmp_path / "r.html")
    assert code == 0
    assert "figure-regions-run-1-1" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--index", "4,5"], "2 inputs"),
        (["--index", "99999"], "99999"),
        (["--sigma", "0"], "sigma"),
        (["--alpha", "2"], "alpha"),
        (["--samples", "50"], "selection"),
        (["--resolution", "3"], "resolution of 3"),
        (["--data", "mnits"], "unknown data set"),
    ],
)
def test_what_cannot_be_drawn_is_one_error(capsys, trained, tmp_path, arguments, said):
    code, _, err = call(capsys, "analyse", "regions", trained, "--out", tmp_path / "x", *arguments)
    assert code == 2
    assert said in err
    assert not (tmp_path / "x" / "record.jsonl").exists()
