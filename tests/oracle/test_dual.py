"""The dual of Wong and Kolter against their recursion in numpy, CROWN, and the exact l1 norms it estimates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import zoo
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.dual import ProjectedDual, WongKolter, dual_bound
from epsball.bounding.linear.known import Known
from epsball.errors import BadConfig, BadData
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, LpBall
from references import exact, preactivations, random_mlp, triangle_lp, wong_kolter


@pytest.mark.parametrize("seed", range(10))
def test_the_closed_form_point_is_wong_and_kolters(seed):
    module, weights = random_mlp(seed, (4, 6, 5, 5, 3))
    network = Network.capture(module, (4,)).prepare()
    x = torch.rand(1, 4, dtype=torch.float64)
    c = np.array([1.0, -1.0, 0.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    got = float(WongKolter()(network, Box(x, 0.3), rows))
    assert got == pytest.approx(wong_kolter(weights, x[0].numpy(), 0.3, c), abs=1e-9)


def _known(name: str, kind: str = "box") -> tuple[Known, object]:
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    inputs = Box(x, 0.1) if kind == "box" else LpBall(x, 0.3, "l2")
    prepared = network.prepare()
    rows = robust(torch.zeros(2, dtype=torch.long), network.classes, torch.float64).rows()
    return Crown(slope="same", intermediate="crown").known(prepared, inputs), rows


@pytest.mark.parametrize("kind", ["box", "l2"])
@pytest.mark.parametrize("name", ["mlp", "residual", "deep_conv"])
def test_any_feasible_point_is_below_samples_and_the_default_is_same_slope_crown(name, kind):
    known, rows = _known(name, kind)
    torch.testing.assert_close(
        dual_bound(known, rows, {}), Crown(slope="same", intermediate="crown")(known.network, known.input_set, rows)
    )
    generator = torch.Generator().manual_seed(5)
    samples = torch.stack([known.network.forward(known.input_set.sample(generator)) for _ in range(200)])
    least = torch.stack([(rows.values * y).sum(-1) for y in samples]).amin(0)
    for _ in range(5):
        point = {}
        for step in known.network.nonlinear:
            shape = (2, 2, *known.found[step.slot].lower.shape[1:])
            point[step.slot] = torch.rand(shape, generator=generator, dtype=torch.float64)
        assert bool((dual_bound(known, rows, point) <= least).all())


def test_the_gradient_in_the_point_is_that_of_finite_differences():
    known, rows = _known("mlp")
    slot = known.network.nonlinear[0].slot
    point = torch.full((1, 1, 7), 0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: dual_bound(known, rows, {slot: a}), (point,))
    with pytest.raises(BadData, match=r"outside \[0, 1\]"):
        dual_bound(known, rows, {slot: point + 0.7})


@pytest.mark.parametrize("seed", range(4))
def test_dual_below_lp_below_exact(seed):
    module, weights = random_mlp(seed)
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, dtype=torch.float64)
    c = np.array([1.0, -1.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    method = Crown(slope="same", intermediate="crown")
    known = method.known(network, Box(x, 0.4))
    lp = triangle_lp(weights, x[0].numpy(), 0.4, c, preactivations(network, method, Box(x, 0.4)))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        point = {s.slot: torch.rand(1, 1, 4, generator=generator, dtype=torch.float64) for s in network.nonlinear}
        assert float(dual_bound(known, rows, point)) <= lp + 1e-7
    assert lp <= exact(weights, x[0].numpy(), 0.4, c) + 1e-7


@pytest.mark.parametrize("name", ["mlp", "residual", "pools"])
def test_projections_approach_the_exact_bound(name):
    """The mean error over seeds falls with more projections, and many are within a few percent of the zonotope's radius."""
    known, rows = _known(name)
    exact_bound = Zonotope()(known.network, known.input_set, rows)
    centre = (rows.values * known.network.forward(known.input_set.centre)).sum(-1)
    size = float((centre - exact_bound).mean())

    def error(count: int) -> float:
        got = [ProjectedDual(count, seed)(known.network, known.input_set, rows) for seed in range(6)]
        return float(torch.stack([(g - exact_bound).abs().mean() for g in got]).mean()) / size

    few, many = error(10), error(2000)
    assert many < few / 3
    assert many < 0.1


def test_no_projection_is_an_error():
    with pytest.raises(BadConfig):
        ProjectedDual(0)
