"""The public names: each is found after every submodule was imported, none shadows a package, and each works."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import torch
from torch import nn

import epsball
import zoo
from epsball.errors import BadConfig, BadData, BadShape
from epsball.problem.sets import LpBall, Patch

PUBLIC = (
    "AlphaCrown",
    "Box",
    "Budget",
    "Cells",
    "Change",
    "Column",
    "Columns",
    "Crown",
    "EpsballError",
    "FGSM",
    "FastIbp",
    "Interval",
    "Ladder",
    "LpBall",
    "Network",
    "PGD",
    "Patch",
    "Polytope",
    "Problem",
    "Product",
    "Property",
    "Record",
    "Tabular",
    "Threat",
    "Transformed",
    "Unsound",
    "Verdict",
    "WordSubstitution",
    "attack",
    "bounds",
    "load",
    "load_data",
    "load_threat",
    "radius",
    "smooth",
    "train",
    "verify",
)  # fmt: skip


def test_public_names_are_golden():
    assert tuple(name for name in dir(epsball) if not name.startswith("__")) == PUBLIC


def test_no_submodule_shadows_a_public_name():
    for module in pkgutil.walk_packages(epsball.__path__, "epsball."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    functions = ("attack", "bounds", "load", "load_data", "radius", "smooth", "train", "verify")
    assert all(callable(getattr(epsball, name)) and not hasattr(getattr(epsball, name), "__path__") for name in functions)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'verify'"):
        epsball.verfy  # noqa: B018


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data = epsball.load_data("digits")
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    network = epsball.train(module, data, recipe="ibp", eps=1 / 16, epochs=6, batch=64, lr=5e-3)
    return network, data.test.inputs(slice(0, 32)), data.test.y[:32]


@pytest.mark.slow
def test_train_attack_bound_and_verify_fit_together(trained):
    network, x, y = trained
    assert (network.module(x).argmax(1) == y).double().mean() > 0.7
    hit = epsball.attack(network, x, y, eps=1 / 16).success
    verdicts = epsball.verify(network.module, x, y, eps=1 / 16)
    verified = torch.tensor([v.status == "verified" for v in verdicts])
    assert not bool((hit & verified).any())
    assert bool(verified.any())
    interval = epsball.bounds(network, epsball.Box(x, 1 / 16, clip=(0.0, 1.0)), method="crown")
    assert bool(interval.contains(network.module(x), slack=1e-4).all())


@pytest.mark.slow
def test_radii_are_proven_and_wrong_answers_have_none(trained):
    network, x, y = trained
    wrong = network.module(x).argmax(1) != y
    for method in ("crown", "envelope"):
        found = epsball.radius(network.module, x[:16], y[:16], method=method)
        assert bool((found[wrong[:16]] == 0).all())
        assert bool((found[~wrong[:16]] > 0).all())
        for i in range(2):
            (verdict,) = epsball.verify(network, x[i : i + 1], y[i : i + 1], eps=0.999 * float(found[i]))
            assert verdict.status == ("misclassified" if wrong[i] else "verified")
    assert bool((epsball.radius(network, x[:4], y[:4], high=0.01) <= 0.01).all())
    with pytest.raises(BadConfig, match="no certified radius for 'l1'"):
        epsball.radius(network, x, y, norm="l1")
    with pytest.raises(BadData, match="valid range"):
        epsball.radius(network, x + 2, y)


@pytest.mark.slow
def test_attack_and_verify_take_any_set(trained):
    network, x, y = trained
    hit = epsball.attack(network, Patch(x, 1), y).success
    verdicts = epsball.verify(network, LpBall(x, 0.2, "l1", (0.0, 1.0)), y)
    assert any(v.status == "verified" for v in verdicts)
    assert len(hit) == len(y)
    with pytest.raises(BadConfig, match="its own size"):
        epsball.verify(network, Patch(x, 1), y, eps=0.1)
    with pytest.raises(BadConfig, match="needs its radius"):
        epsball.attack(network, x, y)
    with pytest.raises(BadShape, match="the network"):
        epsball.verify(network, Patch(x[:, :, :4], 1), y)
    with pytest.raises(BadShape, match="the network"):
        epsball.attack(network, Patch(x[:, :, :4], 1), y)


def test_bad_input_is_one_error(trained):
    network, x, y = trained
    with pytest.raises(BadData, match="label lies outside"):
        epsball.verify(network, x, y + 10, eps=0.1)
    with pytest.raises(BadData, match="outside the valid range"):
        epsball.attack(network, x * 3, y, eps=0.1)
    with pytest.raises(BadShape, match="one label for each input"):
        epsball.verify(network, x, y[:3], eps=0.1)
    with pytest.raises(BadShape, match="the network"):
        epsball.bounds(network, epsball.Box(torch.rand(2, 3), 0.1))
    with pytest.raises(BadData, match="NaN"):
        epsball.verify(network, x * float("nan"), y, eps=0.1)


@pytest.mark.slow
def test_a_network_keeps_its_mode(trained):
    module, shape = zoo.build("conv")
    module.train()
    x = torch.rand(2, *shape)
    epsball.attack(module, x, torch.tensor([0, 1]), eps=0.1)
    epsball.bounds(module, epsball.Box(x, 0.1))
    assert module.training
    assert all(p.grad is None for p in module.parameters())
