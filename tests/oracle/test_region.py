"""Certified regions against closed forms on linear networks, and against samples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.bounding.radius.region import NonUniform, Radius, holds
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, LpBall


def _linear(weights: list[float], bias: float):
    """One margin `w x + b` as the first of two outputs against 0."""
    layer = nn.Linear(len(weights), 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights, [0.0] * len(weights)]))
        layer.bias.copy_(torch.tensor([bias, 0.0]))
    return Network.capture(nn.Sequential(layer), (len(weights),)).prepare()


def _margin(batch: int) -> Property:
    return Property(torch.tensor([1.0, -1.0], dtype=torch.float64).expand(1, batch, 2))


def test_the_radius_of_a_linear_network_is_its_distance_to_the_boundary():
    network = _linear([3.0, -4.0], 0.5)
    x = torch.tensor([[0.2, 0.1], [0.1, 0.05]], dtype=torch.float64)
    margin = 3 * x[:, 0] - 4 * x[:, 1] + 0.5
    for norm, length in (("linf", 7.0), ("l2", 5.0)):
        got = Radius(Ibp() if norm == "linf" else Crown(), norm, steps=30)(network, x, _margin(2))
        torch.testing.assert_close(got, margin / length, rtol=1e-6, atol=1e-8)
        assert bool((got <= margin / length).all())


def test_the_best_box_of_a_linear_network_has_equal_shares():
    """Maximise the sum of log r_i with sum |w_i| r_i <= m: r_i = m / (d |w_i|)."""
    weights = [3.0, -0.5, 1.0, 8.0]
    network = _linear(weights, 2.0)
    x = torch.tensor([[0.1, 0.2, 0.0, -0.1], [0.3, 0.0, 0.2, 0.1]], dtype=torch.float64)
    margin = x @ torch.tensor(weights, dtype=torch.float64) + 2.0
    region = NonUniform(high=4.0)(network, x, _margin(2))
    want = margin[:, None] / (4 * torch.tensor(weights, dtype=torch.float64).abs())
    torch.testing.assert_close(region.radius, want, rtol=0.02, atol=0)
    torch.testing.assert_close(region.uniform, margin / 12.5, rtol=1e-4, atol=0)
    assert bool((region.gain > 0.5).all())


@pytest.mark.parametrize("method", [Crown(slope="same", intermediate="crown"), CrownIbp(slope="same")])
def test_boxes_are_sound_and_larger_than_uniform_ones(method):
    network = Network.capture(*zoo.build("mlp", 1, torch.float64))
    prepared = network.prepare()
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    region = NonUniform(method, clip=(0.0, 1.0), steps=120)(prepared, x, prop)
    assert bool((region.uniform > 0).all())
    assert bool((region.gain >= 0).all())
    assert float(region.gain.mean()) > 0.02
    box = Box(x, region.radius, (0.0, 1.0))
    assert bool(holds(method, prepared, box, prop).all())
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        assert bool((prop.margins(network.module(box.sample(generator))) > 0).all())


def test_a_misclassified_input_has_no_region():
    network = _linear([1.0, 1.0], -5.0)
    x = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    region = NonUniform(steps=3)(network, x, _margin(1))
    assert float(region.uniform) == 0
    assert bool((region.radius == 0).all())
    assert float(region.gain) == 0


def test_a_proven_radius_is_proven():
    network = Network.capture(*zoo.build("residual", 1, torch.float64))
    prepared = network.prepare()
    x = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    radius = Radius(Crown(), "l2", clip=(0.0, 1.0), steps=12)(prepared, x, prop)
    for i, r in enumerate(radius.tolist()):
        assert bool(holds(Crown(), prepared, LpBall(x[i : i + 1], r, "l2", (0.0, 1.0)), prop.take(torch.tensor([i]))))


@pytest.mark.parametrize("make", [lambda: Radius(high=0.0), lambda: Radius(steps=0), lambda: NonUniform(lr=0.0)])
def test_wrong_options_are_refused(make):
    with pytest.raises(BadConfig):
        make()
