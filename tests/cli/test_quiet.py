"""`--quiet`: nothing on standard error but an error, whatever verb."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import typer
from test_verbs import call, trained  # noqa: F401 - the fixture

from epsball.cli.app import app
from epsball.data import fetch, find
from epsball.errors import BadFile, NearChance

BALL = ("--data", "digits", "--eps", "1/16", "--index", ":2")


def verbs(trained: Path, tmp: Path) -> dict[str, tuple]:  # noqa: F811
    return {
        "doctor": (),
        "list": ("ops",),
        "show": ("attack", "pgd"),
        "data get": ("digits",),
        "data add": ("mine", tmp / "mine.npz"),
        "data check": ("digits",),
        "demo": ("--out", tmp / "demo", "--epochs", "0.1"),
        "train": ("standard", "--data", "digits", "--model", "mlp", "--epochs", "1", "--out", tmp / "run"),
        "attack": (trained, *BALL, "--set", "steps=1"),
        "bounds": (trained, *BALL),
        "verify": (trained, *BALL, "--method", "auto,lp", "--out", tmp / "v"),
        "certify": (trained, "--data", "digits", "--index", ":2", "--set", "cap=512", "--out", tmp / "c"),
        "predict": (trained, "--data", "digits", "--index", ":2", "--samples", "100"),
        "report": (trained, "--out", tmp / "r.html"),
        "analyse init": ("--trials", "2"),
        "analyse plane": (trained, "--resolution", "8", "--out", tmp / "p"),
        "analyse barrier": (trained, *BALL),
        "analyse radius": (trained, "--data", "digits", "--index", ":2", "--method", "ibp", "--steps", "3"),
        "analyse estimate": (trained, *BALL, "--batches", "2", "--samples", "4", "--steps", "1"),
        "analyse noise": ("--data", "digits", "--index", ":1", "--out", tmp / "n"),
        "analyse regions": (trained, "--samples", "100", "--resolution", "8", "--out", tmp / "g"),
    }


def every(group: typer.Typer, prefix: str = "") -> set[str]:
    own = {prefix + str(command.name) for command in group.registered_commands}
    return own.union(*(every(inner.typer_instance, f"{prefix}{inner.name} ") for inner in group.registered_groups))


def test_no_verb_is_left_out():
    assert set(verbs(Path(), Path())) == every(app)


@pytest.fixture
def alone(tmp_path, monkeypatch) -> Path:
    """No data set but the digits, a cache of its own, and a set to add."""

    def offline(*_args, **_options):
        raise BadFile("no way to fetch it")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(find, "where", lambda _: None)
    monkeypatch.setattr(fetch, "get", offline)
    x, y = np.zeros((6, 1, 4, 4), np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return tmp_path


@pytest.mark.parametrize("verb", [verb for verb in verbs(Path(), Path()) if verb not in ("data get", "demo")])
def test_a_quiet_verb_tells_its_result_alone(capfd, alone, trained, verb):  # noqa: F811
    code, out, err = call(capfd, *verb.split(), *verbs(trained, alone)[verb], "--quiet")
    assert (code, err) == (0, "")
    assert out


def test_a_quiet_fetch_says_neither_source_nor_terms(capfd, tmp_path, monkeypatch):
    def told(name, folder, *, say, given):
        say("its terms")
        return tmp_path

    monkeypatch.setattr(fetch, "get", told)
    assert call(capfd, "data", "get", "mnist", "--quiet") == (0, f"mnist is in {tmp_path}\n", "")
    assert call(capfd, "data", "get", "mnist")[2] == "its terms\n"


def test_a_quiet_demo_is_quiet(capfd, alone, monkeypatch):
    from epsball.cli import demo

    monkeypatch.setattr(
        demo, "_settings", lambda *_: {"data": "digits", "epochs": 4, "batch": 256, "eps": 0.1, "milestones": [], "seed": 0}
    )
    code, out, err = call(capfd, "demo", "--out", alone / "demo", "-q")
    assert (code, err) == (0, "")
    assert "verified accuracy (union)" in out


@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_a_warning_is_not_told(capfd, monkeypatch, option):
    from epsball.cli import show

    def warned(kind: str) -> tuple[str, dict[str, str]]:
        warnings.warn("of ours", NearChance, stacklevel=1)
        warnings.warn("of others", UserWarning, stacklevel=1)
        return kind, {"a": "b"}

    monkeypatch.setattr(show, "_registered", warned)
    assert call(capfd, "list", "attacks", option) == (0, "attacks\twhat it is\na\tb\n", "")
    assert "of ours" in call(capfd, "list", "attacks")[2]


def test_a_quiet_error_is_told(capfd):
    code, out, err = call(capfd, "list", "nothing", "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith("BadConfig: unknown kind 'nothing'")
