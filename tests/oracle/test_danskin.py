"""Danskin's theorem: where the worst perturbation is unique, the gradient of the maximal loss is the loss's gradient there.

    d/dtheta max_delta L(theta, x + delta) = dL/dtheta (theta, x + delta*)

The left side is a finite difference of a maximum that is known by other means: in closed form, or by trying every corner.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from epsball.attacks.pgd import PGD
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall

EPS = 0.3


def _direction(params):
    generator = torch.Generator().manual_seed(5)
    return {k: torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in params.items()}


def _slope_at(module, x, label, direction):
    """The derivative of the loss along a direction of the parameters, with the input held."""
    grads = torch.autograd.grad(F.cross_entropy(module(x), label, reduction="sum"), list(module.parameters()))
    return float(sum((g * direction[k]).sum() for g, k in zip(grads, direction, strict=True)))


def _difference(maximal, module, direction, step=1e-6):
    """The derivative of the maximal loss along the same direction, by central differences."""
    params = dict(module.named_parameters())
    with torch.no_grad():
        plus, minus = (maximal({k: v + s * direction[k] for k, v in params.items()}) for s in (step, -step))
    return float((plus - minus) / (2 * step))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_linear_network_in_closed_form(norm):
    torch.manual_seed(0)
    module = nn.Linear(6, 2).double()
    x, label = torch.rand(5, 6, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1])
    worst = PGD(steps=50)(module, LpBall(x, EPS, norm), robust(label, 2, torch.float64)).x
    sign = 1.0 - 2 * label

    def maximal(params):
        weight = params["weight"][0] - params["weight"][1]
        margin = sign * (x @ weight + params["bias"][0] - params["bias"][1])
        return F.softplus(EPS * torch.linalg.vector_norm(weight, 1 if norm == "linf" else 2) - margin).sum()

    torch.testing.assert_close(
        F.cross_entropy(module(worst), label, reduction="sum"), maximal(dict(module.named_parameters())), rtol=1e-9, atol=0
    )
    direction = _direction(dict(module.named_parameters()))
    assert _slope_at(module, worst, label, direction) == pytest.approx(_difference(maximal, module, direction), rel=1e-6)


def test_two_layers_against_every_corner():
    """The wrong class's logit is a positive sum of ReLUs, so the loss is convex in x and its maximum is at a corner."""
    torch.manual_seed(7)
    module = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 2)).double()
    with torch.no_grad():
        module[2].weight[0] = 0
        module[2].weight[1].abs_()
    x = torch.randn(6, 4, dtype=torch.float64) * 0.3
    label = torch.zeros(6, dtype=torch.long)
    radius = torch.tensor([0.3, 0.1, 0.5, 0.2], dtype=torch.float64)
    box = Box(x, radius)
    found = PGD(steps=60, restarts=20)(module, box, robust(label, 2, torch.float64))
    corners = torch.tensor(list(product((0.0, 1.0), repeat=4)), dtype=torch.float64)
    points = torch.lerp(box.lower, box.upper, corners[:, None])  # (16, B, 4)

    def losses(params):
        y = functional_call(module, params, (points.flatten(0, 1),))
        return F.cross_entropy(y, label.repeat(16), reduction="none").view(16, 6)

    params = dict(module.named_parameters())
    best = losses(params).detach().topk(2, 0)
    assert bool((best.values[0] - best.values[1] > 1e-4).all()), "the worst corner must be unique"
    torch.testing.assert_close(found.x, points[best.indices[0], torch.arange(6)], rtol=0, atol=1e-12)
    direction = _direction(params)
    difference = _difference(lambda p: losses(p).amax(0).sum(), module, direction)
    assert _slope_at(module, found.x, label, direction) == pytest.approx(difference, rel=1e-6)
    assert _slope_at(module, x, label, direction) != pytest.approx(difference, rel=1e-2)


def test_two_smooth_layers_with_the_maximum_searched_anew():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, label = torch.rand(4, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    ball, attack = LpBall(x, EPS), PGD(steps=300)
    direction = _direction(dict(module.named_parameters()))

    def maximal(params):
        """Searched from the same random start each time; with two classes the least margin has the largest loss."""
        y = attack(lambda z: functional_call(module, params, (z,)), ball, robust(label, 2, torch.float64)).y
        return F.cross_entropy(y, label, reduction="sum")

    worst = attack(module, ball, robust(label, 2, torch.float64)).x
    assert _slope_at(module, worst, label, direction) == pytest.approx(_difference(maximal, module, direction), rel=1e-5)
