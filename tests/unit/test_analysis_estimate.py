"""Estimates by sampling: inside the true range by construction, near it on networks whose range is known, and never an answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import zoo
from epsball.analysis.estimate import Estimator, _weibull
from epsball.bounding.base import output_interval
from epsball.bounding.linear.crown import Crown
from epsball.bounding.radius.lipschitz import local_gradient
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall
from epsball.record.lines import InstanceLine
from epsball.verification.base import STATUSES
from epsball.verification.summary import summarise


def _case(name: str):
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return network, network.prepare(), x, robust(network.module(x).argmax(1), network.classes, torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "tanh", "conv"])
def test_what_is_found_lies_inside_what_is_proven(name):
    _, prepared, x, prop = _case(name)
    for inputs in (Box(x, 0.1), LpBall(x, 0.3, "l2", (0.0, 1.0))):
        found = Estimator(batches=10, samples=8)(prepared, inputs, prop)
        proven = output_interval(Crown(), prepared, inputs)
        assert bool((proven.lower <= found.found.lower + 1e-9).all())
        assert bool((found.found.upper <= proven.upper + 1e-9).all())
        assert bool((found.least >= Crown()(prepared, inputs, prop.rows()) - 1e-9).all())
        assert bool((found.least <= prop.margins(prepared.forward(inputs.centre))).all())
        assert found.status == "estimate"


def test_gradient_steps_reach_the_ends_of_a_linear_network_and_its_constants_are_exact():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    prepared = Network.capture(nn.Sequential(layer), (4,)).prepare()
    x = torch.rand(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prop = robust(layer(x).argmax(1), 3, torch.float64)
    weight = prop.C @ layer.weight.detach()
    for inputs, order in ((LpBall(x, 0.2), 1), (LpBall(x, 0.2, "l2"), 2)):
        found = Estimator(batches=3, samples=4, steps=60)(prepared, inputs, prop)
        want = Crown()(prepared, inputs, prop.rows())
        torch.testing.assert_close(found.least, want, rtol=1e-3, atol=1e-3)
        constants = torch.linalg.vector_norm(weight, ord=order, dim=2)
        torch.testing.assert_close(found.lipschitz, constants)
        margins = prop.margins(layer(x).detach())
        torch.testing.assert_close(found.radius, (margins / constants).amin(0).clamp(max=0.2))
        assert bool(found.fit.isnan().all()), "equal gradients fit no distribution"


def test_constants_lie_between_the_largest_gradient_seen_and_not_far_above_the_true_one():
    _, prepared, x, prop = _case("tanh")
    box = Box(x, 0.05)
    found = Estimator(batches=30, samples=16)(prepared, box, prop)
    points = box.take(torch.arange(2).repeat(500)).sample(torch.Generator().manual_seed(9)).requires_grad_()
    values = (prop.C[:, torch.arange(2).repeat(500)] * prepared.forward(points)).sum(-1)
    slopes = [torch.autograd.grad(v.sum(), points, retain_graph=True)[0] for v in values]
    seen = torch.stack([slope.abs().sum(1).view(500, 2).amax(0) for slope in slopes])
    proven = local_gradient(prepared, box, prop.rows()).flatten(2).sum(2)
    assert bool((found.lipschitz >= 0.97 * seen).all())
    assert bool((found.lipschitz <= 1.3 * proven).all())


def test_the_fit_finds_the_end_of_a_weibull_distribution():
    values = stats.weibull_max.rvs(3.0, loc=5.0, scale=2.0, size=400, random_state=0)
    end, fit = _weibull(values)
    assert end == pytest.approx(5.0, abs=0.4)
    assert end >= values.max()
    assert fit > 0.05
    assert _weibull(np.ones(20)) is None
    assert _weibull(values[:4]) is None


def test_a_seed_is_the_estimate():
    _, prepared, x, prop = _case("tanh")
    first, again, other = (Estimator(5, 4, 3, seed)(prepared, Box(x, 0.1), prop) for seed in (0, 0, 1))
    assert torch.equal(first.lipschitz, again.lipschitz)
    assert torch.equal(first.least, again.least)
    assert not torch.equal(first.lipschitz, other.lipschitz)
    for options in ({"batches": 0}, {"samples": 0}, {"steps": -1}):
        with pytest.raises(BadConfig):
            Estimator(**options)


def test_an_estimate_is_no_status_of_a_verdict_and_no_summary_counts_it():
    _, prepared, x, prop = _case("mlp")
    lines = Estimator(5, 4, 3)(prepared, Box(x, 0.1), prop).lines([0, 1], [0, 0])
    assert {line.status for line in lines} == {"estimate"}
    assert "estimate" not in STATUSES
    one = InstanceLine(
        index=5, label=0, predicted=0, status="unknown", by="ibp", margin=-1.0, bounds={"ibp": -1.0}, attacked_margin=0.5
    )
    assert summarise([one, *lines]).count == 1
