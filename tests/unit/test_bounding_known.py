"""Intermediate bounds that are given, cut to some samples, or to one half of a unit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.bounding.linear.intermediate import FromIbp, Given, Tightest
from epsball.errors import BadConfig
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box, LpBall

X = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3)


def _network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    return Network.capture(module, (3,))


def _rows(count: int = 2) -> Rows:
    c = torch.tensor([[1.0, -1, 0], [0, 1, -1]], dtype=torch.float64)
    return Rows(c[:, None].expand(-1, count, -1).contiguous())


def test_given_bounds_of_the_same_box_change_nothing():
    network, box = _network().prepare(), Box(X, 0.3)
    for method in (Crown(), CrownIbp(), AlphaCrown(steps=4)):
        known = method.known(network, box)
        again = replace(method, intermediate=Given(known))
        assert torch.equal(again(network, box, _rows()), method(network, box, _rows()))


@pytest.mark.parametrize("kind", [Crown, AlphaCrown])
def test_bounds_given_over_a_larger_box_hold_on_a_smaller_one(kind):
    network = _network().prepare()
    known = Crown().known(network, Box(X, 0.5))
    inside = Box(X + 0.1, 0.2)
    bound = kind(intermediate=Given(known))(network, inside, _rows())
    points = X + 0.1 + 0.2 * (2 * torch.rand(4000, *X.shape, dtype=torch.float64) - 1)
    values = torch.einsum("pbk,sbk->psb", _rows().values, network.forward(points.flatten(0, 1)).view(4000, 2, 3))
    assert (bound <= values.amin(1)).all()
    whole = kind(intermediate=Given(known))(network, Box(X, 0.5), _rows())
    assert (bound > whole + 0.01).all()  # the same lines over a smaller set: it is the smaller one that is minimised over
    assert (bound <= Crown(intermediate="crown")(network, inside, _rows()) + 1).all()


def test_given_intervals_are_met_with_other_slopes():
    network, box = _network().prepare(), Box(X, 0.3)
    known = CrownIbp().known(network, box)
    for slope in ("same", "zero", "one"):
        assert torch.equal(
            Crown(slope=slope, intermediate=Given(known))(network, box, _rows()), CrownIbp(slope=slope)(network, box, _rows())
        )


def test_bounds_of_something_else_are_refused():
    net, box = _network(), Box(X, 0.3)
    network = net.prepare()
    given = Given(Crown().known(network, box))
    with pytest.raises(BadConfig, match="another network"):
        Crown(intermediate=given)(net.prepare(), box, _rows())  # the same weights, another preparation
    with pytest.raises(BadConfig, match="does not hold this one"):
        Crown(intermediate=given)(network, Box(X, 0.31), _rows())
    with pytest.raises(BadConfig, match="does not hold this one"):
        AlphaCrown(intermediate=given)(network, Box(X + 0.05, 0.27), _rows())
    with pytest.raises(BadConfig, match="does not hold this one"):
        Crown(intermediate=given)(network, Box(X[:1], 0.3), _rows(1))
    ball = Given(Crown().known(network, LpBall(X, 0.3, "l2")))
    with pytest.raises(BadConfig, match="does not hold this one"):
        Crown(intermediate=ball)(network, Box(X, 0.25), _rows())  # a box within the ball's hull has corners outside of the ball
    with pytest.raises(BadConfig, match="unknown source 'ipb'"):
        Crown(intermediate="ipb")


def test_some_samples_have_the_bounds_they_had():
    network, box = _network().prepare(), Box(X, 0.3)
    known = CrownIbp().known(network, box)
    order = torch.tensor([1, 0, 1])
    taken = known.take(order)
    got = taken.lower_bound(network.plan.output, _rows(3))
    want = known.lower_bound(network.plan.output, _rows())[:, order]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_the_halves_of_a_unit_cover_the_set_and_are_tighter():
    network, box = _network().prepare(), Box(X, 0.6)
    known = CrownIbp().known(network, box)
    step = network.nonlinear[0]
    slot = step.args[0]
    low, high = known.found[slot]
    unit = int(((low < 0) & (high > 0)).all(0).nonzero()[0])
    whole = known.lower_bound(network.plan.output, _rows())
    halves = [known.split(slot, unit, sign) for sign in (-1, 1)]
    for sign, half in zip((-1, 1), halves, strict=True):
        assert (half.found[slot].upper[:, unit] <= 0).all() if sign < 0 else (half.found[slot].lower[:, unit] >= 0).all()
    every = [known.split(slot, u, sign).lower_bound(network.plan.output, _rows()) for u in range(8) for sign in (-1, 1)]
    assert max(float((bound - whole).max()) for bound in every) > 1e-2
    points = X + 0.6 * (2 * torch.rand(4000, *X.shape, dtype=torch.float64) - 1)
    first = network.by_slot[slot].op.value(points.flatten(0, 1)).view(4000, 2, -1)[..., unit]
    values = torch.einsum("pbk,sbk->psb", _rows().values, network.forward(points.flatten(0, 1)).view(4000, 2, 3))
    for sign, half in zip((-1, 1), halves, strict=True):
        bound, there = half.lower_bound(network.plan.output, _rows()), first * sign >= 0
        assert (values >= bound[:, None]).masked_select(there[None].expand_as(values)).all()
    for bad in ((99, 0, 1), (slot, 8, 1), (slot, 0, 0)):
        with pytest.raises(BadConfig, match="no half"):
            known.split(*bad)


def test_a_source_is_a_name_or_an_object():
    network, box = _network().prepare(), Box(X, 0.3)
    for name, source in (("ibp", FromIbp()), ("tightest", Tightest()), ("crown", Tightest(alone=True))):
        assert torch.equal(Crown(intermediate=name)(network, box, _rows()), Crown(intermediate=source)(network, box, _rows()))
