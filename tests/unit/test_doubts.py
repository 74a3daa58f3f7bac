"""Warnings by name: a network near chance, a run that ends there."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

import epsball
from epsball.cli.app import run
from epsball.data.base import Dataset, digest
from epsball.errors import BadConfig, BadData, EpsballWarning, NearChance
from epsball.examples import Examples
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_ends_at_chance_says_so():
    """Labels that have nothing to do with the inputs cannot be learned by a linear layer that starts at 0 and hardly moves."""
    y = torch.randint(3, (300,), generator=torch.Generator().manual_seed(1))

    def fit(lr: float, y: torch.Tensor) -> None:
        epsball.train(nn.Linear(4, 3), _data(y), recipe="standard", epochs=8, batch=50, lr=lr)

    assert _warned(lambda: fit(1e-6, y)) == ["NearChance"]
    x = _data(y).train.x
    assert _warned(lambda: fit(0.1, x[:, :3].argmax(1))) == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_softmax_at_the_end_is_named_and_logits_are_not():
    torch.manual_seed(0)
    x = torch.rand(8, 4)
    logits = nn.Linear(4, 3)
    with torch.no_grad():
        y = logits(x).argmax(1)
    ends = {"none": logits, "softmax": nn.Sequential(logits, nn.Softmax(1)), "log": nn.Sequential(logits, nn.LogSoftmax(1))}
    for name, net in ends.items():
        wanted = ["SoftmaxOutput"] if name == "softmax" else []
        assert _warned(lambda net=net: epsball.attack(net, x, y, eps=0.1)) == wanted
        assert _warned(lambda net=net: epsball.verify(net, x, y, eps=0.1)) == wanted


@pytest.mark.parametrize(("sigma", "high", "warned"), [(64.0, 1.0, True), (1.0, 1.0, False), (64.0, 255.0, False)])
def test_noise_far_wider_than_the_range_is_named(sigma, high, warned):
    found = _warned(lambda: epsball.smooth(nn.Identity(), sigma=sigma, classes=2, clip=(0.0, high)))
    assert found == (["WideNoise"] if warned else [])


@pytest.mark.parametrize("seed", [2**70, 2**63, -1])
def test_a_seed_that_no_generator_holds_is_refused(seed, capsys):
    x, y = torch.rand(2, 3), torch.tensor([0, 1])
    for door in (
        lambda: epsball.attack(nn.Identity(), x, y, eps=0.1, seed=seed),
        lambda: epsball.smooth(nn.Identity(), sigma=0.1, classes=3, seed=seed),
        lambda: epsball.train(nn.Linear(4, 3), _data(torch.arange(60) % 3), recipe="standard", epochs=1, batch=20, seed=seed),
    ):
        with pytest.raises(BadConfig, match="seed"):
            door()
    assert run(["attack", "nowhere", "--data", "digits", "--seed", str(seed)]) == 2
    assert "seed" in capsys.readouterr().err
    assert run(["train", "standard", "--data", "digits", "--seed", str(seed)]) == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_training_labels_of_every_integer_type(dtype):
    y = (torch.arange(60) % 2).to(dtype)
    assert epsball.train(nn.Linear(4, 3), _data(y), recipe="standard", epochs=1, batch=20).classes == 3


@pytest.mark.parametrize(("labels", "named"), [([0, 7], "test label"), ([], "test set is empty")])
def test_a_test_set_that_cannot_be_judged_is_refused_before_training(labels, named):
    y = torch.tensor(labels, dtype=torch.int64)
    good = _data(torch.arange(60) % 3)
    bad = replace(good, test=Examples(torch.rand(len(y), 4), y))
    net = nn.Linear(4, 3)
    before = net.weight.detach().clone()
    with pytest.raises(BadData, match=named):
        epsball.train(net, bad, recipe="standard", epochs=1, batch=20)
    assert torch.equal(net.weight, before)
