"""Configuration: fractions, overrides, round trips, and errors that name their path."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epsball.config import Named, RunConfig, dump, load
from epsball.errors import BadConfig, BadFile
from epsball.record.origin import digest
from epsball.training.config import TrainConfig
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.standard import Standard

TEXT = """
[recipe]
name = "fast-ibp"
eps = "8/255"
ramp = 4

[train]
epochs = 20
milestones = [10, "31/2"]

[model]
name = "small"
batch_norm = true

[data]
name = "mnist"
"""


def test_a_text() -> None:
    config = load(TEXT)
    assert config.recipe == FastIbp(8 / 255, ramp=4.0)
    assert config.train == TrainConfig(epochs=20, milestones=(10.0, 15.5))
    assert config.model == Named("small", {"batch_norm": True})
    assert config.data == Named("mnist")


def test_overrides_win_in_their_order() -> None:
    overrides = ["eps=0.3", "recipe.eps=2/255", "train.lr=1e-3", "model.width=3", "model.name=cnn7", "clip=none", "epochs=30"]
    config = load(TEXT, overrides)
    assert config.recipe.eps == 2 / 255
    assert config.recipe.clip is None
    assert config.train.lr == 1e-3
    assert config.train.epochs == 30
    assert config.model == Named("cnn7", {"batch_norm": True, "width": 3})
    whole = load("", ["recipe.name=standard", "model.name=mlp", "data.name=digits"])
    assert whole == RunConfig(Standard(), TrainConfig(), Named("mlp"), Named("digits"))


def test_round_trip_and_fingerprint() -> None:
    config = load(
        TEXT, ["clip=none", "train.clip_norm=inf", 'model.note="a \\"b\\" \\\\ é"', "model.sizes=[1, 2.5]", "model.t={a = 1}"]
    )
    again = load(dump(config))
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert config.fingerprint() != load(TEXT).fingerprint()
    assert load(TEXT).fingerprint() == digest(load(TEXT).as_dict())
    assert set(config.as_dict()["recipe"]) == {"name", *(f.name for f in fields(FastIbp))}, "every default is written out"


@pytest.mark.slow
@given(st.text(), st.floats(allow_nan=False), st.booleans(), st.integers(-(2**60), 2**60))
def test_any_value_survives_the_emitter(text: str, number: float, flag: bool, count: int) -> None:
    options = {"text": text, "number": number, "flag": flag, "count": count, "list": [number, -number]}
    config = RunConfig(Standard(), TrainConfig(), Named("x", options), Named("y"))
    assert load(dump(config)).model.options == options


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (TEXT, ["recipe.epsilon=0.1"], "recipe.epsilon"),
        (TEXT, ["recipe.toleranse=0.1"], "did you mean 'tolerance'"),
        (TEXT, ["recipe.eps=large"], "recipe.eps: Input should be a valid number"),
        (TEXT, ["recipe.eps=true"], "true is not a number"),
        (TEXT, ["recipe.eps=-0.1"], "eps must be a finite number of at least 0"),
        (TEXT, ["recipe.eps=1/0"], "division by zero"),
        (TEXT, ["recipe.eps=nan"], "finite"),
        (TEXT, ["recipe.name=fast_ibp"], "did you mean 'fast-ibp'"),
        (TEXT, ["recipe.clip=[0]"], "recipe.clip"),
        (TEXT, ["train.epochs=2.5"], "train.epochs: Input should be a valid integer"),
        (TEXT, ["train.milestones=[1, 'x']"], "train.milestones.1"),
        (TEXT, ["train.optimizer=lion"], "train.optimizer"),
        (TEXT, ["train.validation=2"], "train.validation"),
        (TEXT, ["epocs=3"], "did you mean 'epochs'"),
        (TEXT, ["width=3"], "write the table too"),
        (TEXT, ["eps"], "not an override"),
        (TEXT, ["a.b.c=1"], "not an override"),
        (TEXT, ["recipes.eps=1"], "did you mean 'recipe'"),
        (TEXT.replace('eps = "8/255"', ""), [], "recipe needs 'eps'"),
        (TEXT.replace('[data]\nname = "mnist"', ""), [], "[data] needs a name"),
        ("recipe = 3", [], "recipe must be a table"),
    ],
)
def test_refused(text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        load(text, overrides)
    assert message in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(BadFile, match="No such file"):
        load(path)
    path.write_text(TEXT)
    assert load(path) == load(TEXT)
    path.write_text("[recipe]\nname = 'ibp'\neps = = 3\n")
    with pytest.raises(BadFile) as caught:
        load(path)
    assert caught.value.where == f"{path}:3:7"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile, match="not UTF-8"):
        load(path)
    path.write_text("a = '__import__")
    with pytest.raises(BadFile, match="not TOML"):
        load(path)
