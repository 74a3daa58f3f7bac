"""Polyhedral envelopes against hyperplanes, quadratic programs and samples."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch
from torch import nn

import zoo
from epsball.api import attack
from epsball.attacks.pgd import PGD
from epsball.bounding.linear.crown import CrownIbp
from epsball.bounding.radius.envelope import Envelope
from epsball.bounding.radius.region import Radius
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import LpBall


def _linear(classes: int = 3, inputs: int = 4):
    torch.manual_seed(0)
    layer = nn.Linear(inputs, classes).double()
    x = torch.rand(5, inputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = layer(x).argmax(1)
    return layer, Network.capture(nn.Sequential(layer), (inputs,)).prepare(), x, robust(y, classes, torch.float64)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_the_radius_of_a_linear_classifier_is_its_distance_to_the_nearest_hyperplane(norm, dual):
    layer, network, x, prop = _linear()
    weight = prop.C @ layer.weight.detach()
    margin = prop.margins(layer(x).detach())
    want = margin / torch.linalg.vector_norm(weight, ord=dual, dim=2)
    found = Envelope(10.0, norm=norm)(network, x, prop)
    torch.testing.assert_close(found.distance, want, rtol=1e-8, atol=0)
    assert bool((found.distance <= want).all())
    torch.testing.assert_close(found.radius, want.amin(0), rtol=1e-8, atol=0)
    small = Envelope(1e-3, norm=norm)(network, x, prop)
    assert bool((small.radius <= 1e-3).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_within_the_valid_range_are_those_of_a_convex_program(norm):
    layer, network, x, prop = _linear(3, 5 if norm == "l2" else 4)
    widest = 1.0 if norm == "linf" else 10.0  # of what the valid range has
    found = Envelope(widest, norm=norm, clip=(0.0, 1.0))(network, x, prop)
    weight, margin = (prop.C @ layer.weight.detach()).numpy(), prop.margins(layer(x).detach()).numpy()
    infinite = 0
    for r in range(2):
        for i in range(5):
            d = cp.Variable(x.shape[1])
            size = cp.norm(d, "inf" if norm == "linf" else 2)
            point = x[i].numpy() + d
            problem = cp.Problem(cp.Minimize(size), [weight[r, i] @ d <= -margin[r, i], point >= 0, point <= 1])
            want = problem.solve(solver=cp.CLARABEL)
            infinite += want == float("inf")
            assert float(found.distance[r, i]) == pytest.approx(want, rel=1e-5)
            assert float(found.distance[r, i]) <= want * (1 + 1e-6)
    assert infinite < 10


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["mlp", "residual", "tanh"])
def test_radii_are_sound_and_faces_lie_below_the_margins(name, norm):
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    prepared = network.prepare()
    x = torch.rand(3, *network.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), network.classes, torch.float64)
    eps = 0.1 if norm == "linf" else 0.3
    found = Envelope(eps, norm=norm, clip=(0.0, 1.0))(prepared, x, prop)
    assert bool((found.radius > 0).all())
    generator = torch.Generator().manual_seed(2)
    ball = LpBall(x, eps, norm, (0.0, 1.0))
    for _ in range(100):
        point = ball.sample(generator)
        low = (found.u * point).flatten(2).sum(2) + found.v
        margins = prop.margins(network.module(point))
        assert bool((low <= margins + 1e-9).all())
        size = (point - x).flatten(1)
        length = size.abs().amax(1) if norm == "linf" else torch.linalg.vector_norm(size, dim=1)
        assert bool(((margins > 0).all(0) | (length > found.radius)).all())
    y = network.module(x).argmax(1)
    for i, radius in enumerate(found.radius.tolist()):
        hit = attack(network, x[i : i + 1], y[i : i + 1], eps=radius, norm=norm, method=PGD(steps=20, restarts=3))
        assert not bool(hit.success)


def test_bisection_reaches_at_least_as_far_with_the_right_ball():
    """A ball of just the certified radius certifies itself whole."""
    network = Network.capture(*zoo.build("mlp", 1, torch.float64))
    x = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    radius = Radius(CrownIbp(), "linf", (0.0, 1.0), steps=30)(network.prepare(), x, prop)
    for i, r in enumerate(radius.tolist()):
        found = Envelope(r, CrownIbp(), clip=(0.0, 1.0))(network.prepare(), x[i : i + 1], prop.take(torch.tensor([i])))
        assert float(found.radius) == pytest.approx(r, rel=1e-6)


def test_a_misclassified_input_has_radius_0_and_wrong_options_are_refused():
    _, network, x, prop = _linear()
    flipped = Property(-prop.C)
    assert bool((Envelope(0.1)(network, x, flipped).radius == 0).all())
    with pytest.raises(BadConfig, match="finite radius above 0"):
        Envelope(0.0)
    with pytest.raises(BadConfig, match="unknown norm"):
        Envelope(0.1, norm="l7")
