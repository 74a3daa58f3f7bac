"""Warnings by name: a network near chance, a run that ends there."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import epsball
from epsball.cli.app import run
from epsball.data.base import Dataset, digest
from epsball.errors import EpsballWarning, NearChance
from epsball.training.base import Examples
from epsball.verification.doubts import warn_near_chance


def _warned(act) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [w.category.__name__ for w in caught if issubclass(w.category, EpsballWarning)]


@pytest.mark.parametrize(
    ("right", "count", "classes", "warned"),
    [
        (26, 100, 10, True),  # CIFAR-10 in another layout, of a network that is right on 61 %
        (61, 100, 10, False),
        (10, 100, 10, True),
        (0, 19, 10, False),  # too few to say
        (50, 100, 2, True),
        (70, 100, 2, False),
        (20, 1000, 200, False),
        (5, 1000, 200, True),
    ],
)
def test_what_is_near_chance(right, count, classes, warned):
    assert _warned(lambda: warn_near_chance(right, count, classes)) == (["NearChance"] if warned else [])


def test_verify_warns_of_inputs_in_another_order():
    """The answer is the largest of ten pixels; pixels turned around are answered by chance."""
    x = torch.rand(40, 10, generator=torch.Generator().manual_seed(0))
    net = nn.Identity()
    assert _warned(lambda: epsball.verify(net, x, x.argmax(1), eps=0.0)) == []
    assert _warned(lambda: epsball.verify(net, x.roll(1, 1), x.argmax(1), eps=0.0)) == ["NearChance"]


def _data(y: torch.Tensor) -> Dataset:
    x = torch.rand(len(y), 4, generator=torch.Generator().manual_seed(0))
    part = Examples(x, y)
    return Dataset("made", part, part, 3, "ours", (0.0,), (1.0,), (0.0, 1.0), digest(part, part))


def test_a_run_that_ends_at_chance_says_so():
    """Labels that have nothing to do with the inputs cannot be learned by a linear layer that starts at 0 and hardly moves."""
    y = torch.randint(3, (300,), generator=torch.Generator().manual_seed(1))

    def fit(lr: float, y: torch.Tensor) -> None:
        epsball.train(nn.Linear(4, 3), _data(y), recipe="standard", epochs=8, batch=50, lr=lr)

    assert _warned(lambda: fit(1e-6, y)) == ["NearChance"]
    x = _data(y).train.x
    assert _warned(lambda: fit(0.1, x[:, :3].argmax(1))) == []


def test_the_command_line_tells_in_one_line(tmp_path, capsys):
    line = [
        "train",
        "standard",
        "--data",
        "digits",
        "--model",
        "mlp",
        "--epochs",
        "1",
        "--set",
        "lr=1e-9",
        "--out",
        str(tmp_path / "r"),
    ]
    assert run([*line, "--out", str(tmp_path / "r")]) == 0
    told = [text for text in capsys.readouterr().err.splitlines() if "NearChance" in text]
    assert len(told) == 1
    assert "ended at chance" in told[0]
    assert run(["verify", str(tmp_path / "r"), "--data", "digits", "--index", ":40", "--eps", "0", "--method", "ibp"]) == 0
    told = [text for text in capsys.readouterr().err.splitlines() if "NearChance" in text]
    assert len(told) == 1
    assert "guessing one of 10 classes" in told[0]


def test_warnings_share_a_base():
    assert issubclass(NearChance, EpsballWarning)
    assert issubclass(EpsballWarning, UserWarning)
