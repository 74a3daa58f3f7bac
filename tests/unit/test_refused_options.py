"""An option without effect is an error, and so is a question that can never be answered."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import epsball
from epsball.cli.app import run
from epsball.data.base import Dataset, digest
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.problem.sets import LpBall, Patch
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.verification.divided import Cells


@pytest.fixture
def data() -> Dataset:
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    parts = Examples(x[:150], x[:150].argmax(1)), Examples(x[150:], x[150:].argmax(1))
    return Dataset("made", *parts, 4, "ours", (0.0,), (1.0,), (0.0, 1.0), digest(*parts))


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.slow
def test_a_test_radius_is_what_epochs_are_judged_at(data, monkeypatch):
    """The radii of the boxes that bounds are taken over while a standard run is judged."""
    seen = []

    class Watched(epsball.Box):
        def __init__(self, x, radius, clip=None):
            seen.append(radius)
            super().__init__(x, radius, clip)

    monkeypatch.setattr("epsball.training.evaluate.Box", Watched)
    epsball.train(_net(), data, recipe="standard", epochs=1, batch=50, test_eps=0.125)
    assert set(seen) == {0.125}


def test_an_eps_that_no_recipe_takes_is_refused(data):
    with pytest.raises(BadConfig, match="has no eps"):
        epsball.train(_net(), data, recipe="standard", eps=0.1, epochs=1, batch=50)
    with pytest.raises(BadConfig, match="its own eps"):
        epsball.train(_net(), data, recipe=FastIbp(eps=0.1), eps=0.2, epochs=1, batch=50)


def test_a_test_radius_beside_noise_is_refused(data):
    from epsball.training.recipes.gaussian import GaussianTraining

    with pytest.raises(BadConfig, match="no effect"):
        epsball.train(_net(), data, recipe=GaussianTraining(sigma=0.1), epochs=1, batch=50, test_eps=0.1)


@pytest.mark.slow
def test_cells_of_a_set_without_cells_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x = torch.rand(2, 1, 4, 4)
    y = net(x).argmax(1)
    for given in (epsball.Box(x, 0.1), LpBall(x, 0.1)):
        with pytest.raises(BadConfig, match="has no cells"):
            epsball.verify(net, given, y, method=Cells(4))
    assert len(epsball.verify(net, Patch(x, 1), y, method=Cells(2))) == 2


@pytest.mark.slow
def test_cells_of_a_ball_are_refused_on_the_command_line(tmp_path, capsys):
    model = str(tmp_path / "m")
    assert run(["train", "standard", "--data", "digits", "--model", "mlp", "--epochs", "1", "--out", model, "--quiet"]) == 0
    line = ["verify", model, "--data", "digits", "--index", ":2", "--cells", "4", "--out", str(tmp_path / "v")]
    assert run(line) == 2
    assert "no cells" in capsys.readouterr().err
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(("eps", "clip"), [(1.001, (0.0, 1.0)), (8.0, (0.0, 1.0)), (2.5, (-1.0, 1.0))])
def test_a_radius_wider_than_the_valid_range_is_refused(eps, clip):
    net, x, y = _net(), torch.rand(2, 4), torch.tensor([0, 1])
    for door in (epsball.verify, epsball.attack):
        with pytest.raises(BadConfig, match="whole valid range"):
            door(net, x, y, eps=eps, clip=clip)
    assert len(epsball.verify(net, x, y, eps=clip[1] - clip[0], clip=clip)) == 2
    assert len(epsball.verify(net, x, y, eps=eps, clip=None)) == 2


@pytest.mark.parametrize(("alpha", "least"), [(0.001, 11), (0.05, 6), (0.5, 2), (1e-9, 31)])
def test_so_few_copies_that_no_vote_is_an_answer_are_refused(alpha, least):
    """All of n votes for one class have the two-sided probability 2^(1 - n) under a fair coin."""
    assert math.isclose(2.0 ** (1 - least), alpha) or 2.0 ** (1 - least) < alpha <= 2.0 ** (2 - least)
    smoothed = epsball.smooth(nn.Identity(), sigma=1e-6, classes=2)
    x = torch.tensor([[0.9, 0.1]])
    with pytest.raises(BadConfig, match="can never answer") as caught:
        smoothed.predict(x, n=least - 1, alpha=alpha)
    assert f"n={least} " in str(caught.value)
    assert smoothed.predict(x, n=least, alpha=alpha)[0].label == 0
