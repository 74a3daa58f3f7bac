"""Certified radii by name: closed forms on linear networks, attacks inside them, and the order of methods where there is one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from epsball.attacks.pgd import PGD
from epsball.bounding.radius.by_name import OWN, EnvelopeRadius, Search, methods, radius_by
from epsball.device import generator
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

RELAXED = ("crown", "crown-ibp", "alpha-crown", "forward", "zonotope", "dual", "intersection")


def _linear():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = layer(x).argmax(1)
    prop = robust(y, 3, torch.float64)
    return (
        Network.capture(nn.Sequential(layer), (4,)).prepare(),
        x,
        prop,
        prop.C @ layer.weight.detach(),
        prop.margins(layer(x)).detach(),
    )


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("name", [*RELAXED, "ibp", *OWN])
def test_of_a_linear_classifier_every_radius_is_the_distance_to_the_nearest_hyperplane(name, norm, dual):
    network, x, prop, weight, margin = _linear()
    want = (margin / torch.linalg.vector_norm(weight, ord=dual, dim=2)).amin(0)
    found = radius_by(name, Search(2.0, norm, steps=25))(network, x, prop)
    assert bool((found <= want).all())
    if norm == "linf" or name not in ("ibp", "lipschitz"):  # these bound an l2 ball by its box, or rows by a product of norms
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["crown", "ibp", *OWN])
def test_an_attack_inside_a_radius_finds_nothing(name, norm):
    network = Network.capture(*zoo.build("mlp", 1))
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(2))
    prop = robust(network.module(x).argmax(1), 3)
    radius = radius_by(name, Search(1.0, norm, (0.0, 1.0), steps=12))(network.prepare(), x, prop)
    assert bool((radius > 0).any())
    attack, missed = PGD(targets="all", loss="margin", steps=12), 0
    for i, r in enumerate(radius):
        own = prop.take(torch.tensor([i]))
        inside = attack(network.module, LpBall(x[i : i + 1], float(r), norm, (0.0, 1.0)), own, generator(x.device, i))
        assert not bool(inside.success)
        wide = attack(network.module, LpBall(x[i : i + 1], 20.0, norm), own, generator(x.device, i))
        missed += not bool(wide.success)
    assert missed < len(x)  # the attack is no toothless one


def test_crown_reaches_as_far_as_ibp_on_this_network():
    network = Network.capture(*zoo.build("mlp", 1, torch.float64))
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    crown, ibp = (radius_by(name, Search(1.0))(network.prepare(), x, prop) for name in ("crown", "ibp"))
    assert bool((crown >= ibp).all())
    assert bool((crown > 1.01 * ibp).any())


@pytest.mark.parametrize("high", [0.02, 1.0, 30.0])
def test_an_envelope_s_radius_hardly_depends_on_the_largest_ball(high):
    network = Network.capture(*zoo.build("mlp", 1, torch.float64))
    x = torch.rand(8, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    found = EnvelopeRadius(Search(high))(network.prepare(), x, prop)
    bisected = radius_by("crown", Search(high))(network.prepare(), x, prop)
    assert bool((found <= high).all())
    assert bool((found >= bisected / 2**0.5 * (1 - 1e-3)).all())  # the ball next below the bisected radius is proven whole


def test_an_example_that_is_not_proven_where_it_is_has_radius_0():
    network, x, prop, _, _ = _linear()
    wrong = robust((prop.C[0].argmax(1) + 1) % 3, 3, torch.float64)
    for name in ("crown", *OWN):
        assert not bool(radius_by(name, Search(2.0, steps=4))(network, x, wrong).any())


def test_radii_within_a_small_budget_are_the_same():
    network = Network.capture(*zoo.build("conv", 1))
    x = torch.rand(6, *network.input_shape, generator=torch.Generator().manual_seed(3))
    prop = robust(network.module(x).argmax(1), network.classes)
    for name in ("crown", "envelope"):
        whole, small = (
            radius_by(name, Search(0.5, steps=8, budget=Budget(bytes=size)))(network.prepare(), x, prop)
            for size in (2**31, 400_000)
        )
        torch.testing.assert_close(small, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"norm": "l1"}, "no certified radius for 'l1'"), ({"high": 0.0}, "largest radius"), ({"steps": 0}, "0 steps")],
)
def test_a_bad_search_is_refused(change, says):
    with pytest.raises(BadConfig, match=says) as error:
        Search(**change)
    assert error.value.fix


def test_a_name_that_is_none_is_met_with_the_nearest():
    with pytest.raises(BadConfig, match="no certified radius by 'envelop'") as error:
        radius_by("envelop", Search())
    assert "envelope" in error.value.fix
    assert {"crown", "ibp", "envelope", "lipschitz", "lipschitz-local"} <= set(methods())
