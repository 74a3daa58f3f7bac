"""Functions over networks and records: tightness of layers, curves over runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import sample_records as sample
import zoo
from epsball.analysis.curves import verified_against_eps
from epsball.analysis.tightness import METHODS, found_by, layer_lines
from epsball.bounding.ibp import intervals
from epsball.bounding.linear.crown import CrownIbp, Known
from epsball.errors import BadConfig, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.ops.operator import Nonlinear
from epsball.problem.sets import LpBall
from epsball.record.lines import SummaryLine
from epsball.record.read import typed


def _network(name: str) -> tuple[Network, LpBall]:
    network = Network.capture(*zoo.build(name, seed=2, dtype=torch.float64))
    x = torch.rand(4, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return network, LpBall(x, 0.05)


@pytest.mark.parametrize("name", ["mlp", "leaky", "tanh", "conv", "deep_conv", "residual", "pools", "max_pool_last", "shapes"])
def test_every_layer_has_a_line_and_its_shares_add_up(name):
    network, ball = _network(name)
    lines = layer_lines(network, ball)
    assert len(lines) == 2 * len(network.prepare().nonlinear)
    for line in lines:
        assert line.active + line.inactive + line.unstable == pytest.approx(1)
        assert typed([line.written()], Path("record")) == [line]  # what a report accepts


@pytest.mark.parametrize("name", ["mlp", "conv", "residual"])
def test_crown_is_never_wider_than_ibp(name):
    network, ball = _network(name)
    ibp, crown = ({line.name: line for line in layer_lines(network, ball, [m])} for m in ("ibp", "crown"))
    assert ibp.keys() == crown.keys()
    for key, line in ibp.items():
        assert crown[key].width <= line.width + 1e-12
        assert crown[key].unstable <= line.unstable


def _layers(method: str, network: Network, ball: LpBall) -> list[float]:
    return [line.width for line in layer_lines(network, ball, [method])]


@pytest.mark.parametrize("name", ["mlp", "tanh", "conv", "residual"])
def test_methods_that_meet_another_one_s_bounds_are_never_wider(name):
    network, ball = _network(name)
    widths = {method: _layers(method, network, ball) for method in METHODS}
    for narrow, wide in (("forward", "ibp"), ("crown-ibp", "ibp"), ("crown-forward", "forward"), ("crown", "ibp")):
        assert all(n <= w + 1e-12 for n, w in zip(widths[narrow], widths[wide], strict=True)), (narrow, wide)
        assert widths[narrow][-1] < widths[wide][-1] * (1 - 1e-6)


def test_zonotope_and_dual_agree_on_every_layer_and_crown_ibp_is_one_pass_over_intervals():
    """Same-slope bounds of a ReLU network without intersections are one method under three names."""
    network, ball = _network("mlp")
    zonotope, dual = (_layers(method, network, ball) for method in ("zonotope", "dual"))
    assert zonotope == pytest.approx(dual, rel=1e-9)
    step = [s for s in network.prepare().before_frontier if isinstance(s.op, Nonlinear)][-1]
    (slot,) = step.args
    found = CrownIbp().neurons(network.prepare(), ball)[slot]
    prepared, relaxed = network.prepare(), CrownIbp().relax(network.prepare(), ball)
    unit = torch.eye(found.lower.shape[1], dtype=torch.float64)[:, None].expand(-1, len(found.lower), -1)
    want = Known(prepared, ball, *relaxed).lower_bound(slot, Rows(unit)).T
    torch.testing.assert_close(found.lower, torch.maximum(want, intervals(prepared, ball.hull())[slot].lower))


@pytest.mark.parametrize("method", METHODS)
def test_samples_lie_inside_the_layers_of_every_method(method):
    network, ball = _network("conv")
    prepared, generator = network.prepare(), torch.Generator().manual_seed(0)
    found = found_by(METHODS[method], prepared, ball)
    points = [ball.sample(generator) for _ in range(20)]
    for step in prepared.before_frontier:
        if not isinstance(step.op, Nonlinear):
            continue
        for slot in step.args:
            for x in points:
                inside = intervals(prepared, Interval(x, x))[slot].lower
                assert bool((inside >= found[slot].lower - 1e-9).all())
                assert bool((inside <= found[slot].upper + 1e-9).all())


def test_the_first_layer_is_exact():
    """Over a linf ball the pre-activations of a first linear layer have width 2 eps |W| 1, with no loss by any method."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    network = Network.capture(nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3)), (6,))
    x = torch.rand(8, 6)
    radius = 0.1 * layer.weight.detach().abs().sum(1)
    centre = layer(x).detach()
    for line in layer_lines(network, LpBall(x, 0.1)):
        assert line.width == pytest.approx(2 * float(radius.mean()), rel=1e-5)
        assert line.active == pytest.approx(float((centre >= radius).float().mean()))
        assert line.inactive == pytest.approx(float((centre <= -radius).float().mean()))
        assert line.neurons == 5
        assert line.seconds > 0


def test_layers_refuse_unknown_methods_and_foreign_shapes():
    network, ball = _network("mlp")
    with pytest.raises(BadConfig, match="use ibp, forward, zonotope"):
        layer_lines(network, ball, ["lp"])
    with pytest.raises(BadConfig, match="did you mean 'zonotope'"):
        layer_lines(network, ball, ["zonotop"])
    for names in ([], ["ibp", "ibp"]):
        with pytest.raises(BadConfig, match="each method once"):
            layer_lines(network, ball, names)
    with pytest.raises(BadShape):
        layer_lines(network, LpBall(torch.rand(2, 9, dtype=torch.float64), 0.1))


def test_a_curve_needs_two_radii_and_is_ordered():
    raw = [sample.verify_lines(60, eps, witnesses=0)[-2] for eps in (0.3, 0.1)]
    raw[1]["accuracy"]["verified"]["value"] = 0.99
    lines = typed(raw, Path("record"))
    assert [type(line) for line in lines] == [SummaryLine] * 2
    curves = verified_against_eps(lines)
    assert {name for _, name in curves} == {"ibp", "crown-ibp", "crown", "verified"}
    points = curves["runs/demo/train mnist linf", "verified"]
    assert [p.eps for p in points] == [0.1, 0.3]
    assert points[0].value == 0.99
    assert verified_against_eps(lines[:1]) == {}
