"""The range of an operator's derivative holds what autograd finds at points of the box, and is reached."""

from __future__ import annotations

import pytest
import torch

from epsball.forms.interval import Interval
from epsball.ops.elementwise import relaxations

GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", relaxations)
def test_slopes_hold_the_derivative_at_every_point(name):
    op = relaxations[name]()
    low = torch.randn(1, 400, generator=GENERATOR, dtype=torch.float64) * 2
    high = low + torch.rand(1, 400, generator=GENERATOR, dtype=torch.float64) * 2
    found = op.slopes(Interval(low, high))
    if found is None:
        return
    share = torch.linspace(0, 1, 401, dtype=torch.float64)[:, None]
    points = (low + share * (high - low)).requires_grad_()
    (slope,) = torch.autograd.grad(op(points).sum(), points)
    assert bool((slope >= found.lower - 1e-12).all())
    assert bool((slope <= found.upper + 1e-12).all())
    assert bool((slope.amin(0) - found.lower[0] < 0.02).all())
    assert bool((found.upper[0] - slope.amax(0) < 0.02).all())


def test_which_operators_say_their_slopes():
    one = Interval(torch.zeros(1, 1), torch.ones(1, 1))
    told = {name for name, kind in relaxations.items() if kind().slopes(one) is not None}
    assert told == {"relu", "leaky_relu", "sigmoid", "tanh", "erf", "atan"}
