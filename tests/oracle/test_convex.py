"""CROWN against four oracles: the exact minimum by enumeration, the triangle LP, Wong and Kolter's dual, and zonotopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.networks import seeded

import zoo
from epsball.bounding.base import output_interval
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box
from references import exact, preactivations, random_mlp, triangle_lp, wong_kolter, zonotope


@pytest.mark.parametrize("seed", range(12))
def test_exact_above_lp_above_crown(seed):
    """At equal intermediate bounds the methods are ordered; every one is below the exact minimum."""
    module, weights = random_mlp(seed)
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, dtype=torch.float64)
    eps = 0.4
    c = np.array([1.0, -1.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    least = exact(weights, x[0].numpy(), eps, c)
    for method in (
        Crown(),
        Crown(slope="same", intermediate="crown"),
        Crown(slope="zero"),
        Crown(slope="one"),
        CrownIbp(),
    ):
        crown = float(method(network, Box(x, eps), rows))
        lp = triangle_lp(weights, x[0].numpy(), eps, c, preactivations(network, method, Box(x, eps)))
        assert crown <= lp + 1e-7
        assert lp <= least + 1e-7
    assert float(Ibp()(network, Box(x, eps), rows)) <= least + 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_same_slope_crown_is_wong_kolters_dual_and_thezonotope(seed):
    module, weights = random_mlp(seed, (4, 6, 5, 5, 3))
    network = Network.capture(module, (4,)).prepare()
    x = torch.rand(1, 4, dtype=torch.float64)
    c = np.array([1.0, -1.0, 0.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    crown = float(Crown(slope="same", intermediate="crown")(network, Box(x, 0.3), rows))
    assert crown == pytest.approx(zonotope(weights, x[0].numpy(), 0.3, c), abs=1e-9)
    assert crown == pytest.approx(wong_kolter(weights, x[0].numpy(), 0.3, c), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "eps", "method", "want"),
    [
        ("mlp", 0.02, Ibp(), -5.5195), ("mlp", 0.02, CrownIbp(), -2.55555), ("mlp", 0.02, Crown(), -0.39805),
        ("mlp", 0.1, Ibp(), -26.58944), ("mlp", 0.1, CrownIbp(), -13.96212), ("mlp", 0.1, Crown(), -7.07453),
        ("cnn4", 0.02, Ibp(), -287.54739), ("cnn4", 0.02, CrownIbp(), -151.76521), ("cnn4", 0.02, Crown(), 0.07072),
    ],
)  # fmt: skip
def test_mean_margins_equal_those_of_auto_lirpa(kind, eps, method, want):
    """Values of auto_LiRPA 0.7.1 on seeded networks: equal to 1e-4, or tighter."""
    module, x, y = seeded(kind, 1)
    network = Network.capture(module, (1, 28, 28)).prepare(covers="nothing")  # as there: rounding is not given away
    prop = robust(y, 10)
    with torch.no_grad():
        got = float(method(network, Box(x, eps, clip=(0.0, 1.0)), prop.rows()).mean())
    assert got >= want - 1e-4 * abs(want)
    assert got == pytest.approx(want, rel=1e-3)


def test_tightest_intermediate_bounds_are_never_wider():
    for name in ("mlp", "conv", "residual", "pools"):
        module, shape = zoo.build(name, 0, torch.float64)
        network = Network.capture(module, shape).prepare()
        box = Box(torch.rand(2, *shape, dtype=torch.float64), 0.1)
        loose = CrownIbp().known(network, box).found
        tight = Crown().known(network, box).found
        for step in network.nonlinear:
            for slot in step.args:
                assert bool((tight[slot].lower >= loose[slot].lower - 1e-9).all())
                assert bool((tight[slot].upper <= loose[slot].upper + 1e-9).all())
        assert bool((output_interval(Crown(), network, box).width <= output_interval(Ibp(), network, box).width + 1e-9).all())
