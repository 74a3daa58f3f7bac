"""Sets on the command line: norms, perturbations and their sizes, in verify, attack and bounds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from epsball.cli.app import run


def answer(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    code = run([*map(str, arguments), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code == 0) == ("error" not in found), found
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    code = run(["train", "fast-ibp", "--data", "digits", "--model", "mlp", "--eps", "1/16", "--epochs", "4", "--batch", "64",
                "--set", "warmup=0", "--set", "ramp=2", "--set", "lr=2e-3", "--out", str(path), "--quiet"])  # fmt: skip
    assert code == 0
    return path


def test_list_names_every_set(capsys):
    entries = answer(capsys, "list", "sets")["entries"]
    assert set(entries) == {"linf", "l2", "l1", "l0", "patch", "rotation", "translation", "brightness", "contrast",
                            "box", "polytope", "product", "table", "words"}  # fmt: skip
    assert all(entries.values())
    assert "b" in answer(capsys, "show", "set", "polytope")["options"]


CHOSEN = {
    "l1": ("--norm", "l1", "--eps", "0.5"),
    "patch": ("--perturbation", "patch", "--size", "2"),
    "rotation": ("--perturbation", "rotation", "--size", "2"),
    "contrast": ("--perturbation", "contrast", "--size", "0.1"),
}


@pytest.mark.parametrize("kind", CHOSEN)
def test_verify_and_attack_take_every_set(capsys, trained, tmp_path, kind):
    options = ("--data", "digits", "--index", ":8", *CHOSEN[kind])
    cells = () if kind == "l1" else ("--cells", 2)  # a ball has none
    found = answer(capsys, "verify", trained, *options, *cells, "--out", tmp_path / "v")
    assert found["norm"] == kind
    assert found["status"]["error"] == found["status"]["timeout"] == 0
    assert found["accuracy"]["verified"]["value"] <= found["accuracy"]["attacked"]["value"]
    if kind != "patch":
        assert found["status"]["verified"] > 0
    attacked = answer(capsys, "attack", trained, *options, "--attack", "fgsm")
    assert attacked["accuracy"]["attacked"]["value"] >= found["accuracy"]["verified"]["value"]


def test_bounds_show_the_layers_over_a_patch(capsys, trained):
    layers = answer(capsys, "bounds", trained, "--data", "digits", "--perturbation", "patch", "--size", "1")["layers"]
    assert {line["method"] for line in layers} == {"ibp", "crown"}
    widths = {m: [line["width"] for line in layers if line["method"] == m] for m in ("ibp", "crown")}
    assert sum(widths["crown"]) < sum(widths["ibp"])  # a patch is much less than its hull


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (("--norm", "l3"), "--norm"),
        (("--norm", "rotation"), "--norm"),
        (("--size", "3"), "--size"),
        (("--perturbation", "patch"), "--size"),
        (("--perturbation", "patch", "--size", "1.5"), "--size"),
        (("--perturbation", "patch", "--size", "90"), None),
        (("--perturbation", "pach", "--size", "2"), None),
        (("--perturbation", "polytope", "--size", "2"), None),
        (("--perturbation", "l2", "--size", "2"), "--perturbation"),
        (("--perturbation", "rotation", "--size", "-2"), "--size"),
        (("--perturbation", "rotation", "--size", "2", "--cells", "0"), "Cells"),
        (("--norm", "l0", "--eps", "1.5"), None),
        (("--norm", "linf", "--eps", "8"), "--eps"),
    ],
)
def test_bad_sizes_are_one_error(capsys, trained, tmp_path, options, where):
    error = answer(capsys, "verify", trained, "--data", "digits", *options, "--out", tmp_path / "v")["error"]
    assert error["kind"] == "BadConfig"
    assert error["fix"]
    assert where is None or where in error["where"]
    assert not (tmp_path / "v").exists()
