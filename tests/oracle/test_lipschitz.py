"""Lipschitz constants against singular values, materialised Jacobians, and samples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from epsball.bounding.radius.lipschitz import Lipschitz, certified_radius, constants, local_gradient, operator_norm, spectral_bound
from epsball.errors import BadConfig, UnsupportedOp
from epsball.models.base import Normalise
from epsball.ops.network import Network
from epsball.ops.operator import Affine
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall

NAMES = ["mlp", "leaky", "sigmoid", "tanh", "conv", "conv_same", "residual", "deep_conv", "shapes"]


def _case(name: str):
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = network.module(x).argmax(1)
    return network, network.prepare(), x, robust(y, network.classes, torch.float64).rows()


@pytest.mark.parametrize("shape", [(3, 5, 5), (2, 40, 7), (1, 1, 9)])
def test_the_spectral_bound_is_above_the_largest_singular_value_and_near_it(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true = torch.linalg.matrix_norm(matrices, 2)
    got = spectral_bound(matrices)
    assert bool((got >= true).all())
    assert bool((got <= 1.02 * true).all())


@pytest.mark.parametrize("name", NAMES)
def test_operator_norms_are_above_those_of_the_matrices(name):
    """linf is equal; l2 is above, and within 2 % for linear layers."""
    network, prepared, x, _ = _case(name)
    shapes = {step.slot: step.node.shape for step in network.plan.steps} | {0: network.input_shape}
    for step in prepared.steps:
        if not isinstance(step.op, Affine):
            continue
        zeros = [torch.zeros(1, *shapes[slot], dtype=torch.float64) for slot in step.args]
        parts = torch.autograd.functional.jacobian(lambda *xs, op=step.op: op.value(*xs).flatten(), tuple(zeros))
        matrix = torch.cat([p.flatten(1) for p in parts], 1)
        sizes = tuple(shapes[slot] for slot in step.args)
        assert operator_norm(step.op, sizes, "linf", x) == pytest.approx(float(matrix.abs().sum(1).max()))
        true = float(torch.linalg.matrix_norm(matrix, 2))
        got = operator_norm(step.op, sizes, "l2", x)
        assert got >= true * (1 - 1e-9)
        if step.node.op == "linear":
            assert got <= 1.02 * true


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold_and_local_ones_are_tighter(name):
    network, prepared, x, rows = _case(name)
    real, generator = network.prepare(covers="real"), torch.Generator().manual_seed(4)
    with pytest.raises(BadConfig, match="a network that rounds"):
        Lipschitz("global")(prepared, Box(x, 0.05), rows)
    for inputs in (Box(x, 0.05), LpBall(x, 0.1, "l2")):
        samples = torch.stack([prepared.forward(inputs.sample(generator)) for _ in range(200)])
        least = torch.stack([(rows.values * y).sum(-1) for y in samples]).amin(0)
        local, everywhere = Lipschitz("local")(prepared, inputs, rows), Lipschitz("global")(real, inputs, rows)
        assert bool((local <= least).all())
        assert bool((everywhere <= least).all())
        if isinstance(inputs, Box):
            assert bool((everywhere <= local + 1e-9).all())


@pytest.mark.parametrize("name", ["mlp", "residual", "tanh"])
def test_local_derivatives_hold_at_samples_and_are_exact_at_a_point(name):
    _, prepared, x, rows = _case(name)
    box = Box(x, 0.05)
    steep, generator = local_gradient(prepared, box, rows), torch.Generator().manual_seed(4)
    at_point = local_gradient(prepared, Box(x, 0.0), rows)

    def gradient(point: torch.Tensor) -> torch.Tensor:
        point = point.clone().requires_grad_()
        margins = (rows.values * prepared.forward(point)).sum(-1)
        return torch.stack([torch.autograd.grad(m.sum(), point, retain_graph=True)[0] for m in margins])

    torch.testing.assert_close(gradient(x).abs(), at_point)
    for _ in range(30):
        assert bool((gradient(box.sample(generator)).abs() <= steep + 1e-12).all())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_inside_the_certified_radius_no_attack_succeeds(norm):
    _, prepared, x, rows = _case("mlp")
    radius = certified_radius(prepared, x, rows, norm)
    assert bool((radius > 0).all())
    for i, r in enumerate(radius.tolist()):
        ball = LpBall(x[i : i + 1], r, norm)
        point = ball.centre
        for _ in range(30):
            point = point.detach().requires_grad_()
            margins = (rows.values[:, i : i + 1] * prepared.forward(point)).sum(-1)
            margins.amin(0).sum().backward()
            step = point.grad.sign() if norm == "linf" else point.grad / point.grad.norm()
            point = ball.project(point.detach() - r / 4 * step)
        assert bool(((rows.values[:, i : i + 1] * prepared.forward(point)).sum(-1) > 0).all())


def test_one_linear_layer_is_exact():
    module = nn.Sequential(nn.Linear(4, 3)).double()
    network = Network.capture(module, (4,)).prepare()
    rows = robust(torch.zeros(1, dtype=torch.long), 3, torch.float64).rows()
    difference = module[0].weight[0] - module[0].weight[1:]
    torch.testing.assert_close(constants(network, rows, "linf")[:, 0], difference.abs().sum(1).detach())
    torch.testing.assert_close(constants(network, rows, "l2")[:, 0], difference.norm(dim=1).detach())


def test_what_has_no_constant_is_named():
    _, prepared, x, rows = _case("pools")
    with pytest.raises(UnsupportedOp, match="Lipschitz"):
        Lipschitz()(prepared, Box(x, 0.1), rows)
    with pytest.raises(BadConfig):
        Lipschitz("somewhere")


def test_local_constants_hold_behind_a_normalisation():
    """A scaling by a constant: at a zero width its interval has no derivative, and half of the true one came out."""
    torch.manual_seed(0)
    module = nn.Sequential(
        Normalise((0.4,), (0.2,), (1, 3, 3)), nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 3)
    ).double()
    network = Network.capture(module, (1, 3, 3))
    x = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y, box = module(x).argmax(1), Box(x, 0.2, (0.0, 1.0))
    rows, generator = robust(y, 3, torch.float64).rows(), torch.Generator().manual_seed(2)
    steep, least = local_gradient(network.prepare(), box, rows), Lipschitz("local")(network.prepare(), box, rows)
    for _ in range(50):
        point = box.sample(generator).requires_grad_()
        margins = (rows.values * module(point)).sum(-1)
        assert bool((margins >= least).all())
        for row, margin in enumerate(margins):
            (gradient,) = torch.autograd.grad(margin.sum(), point, retain_graph=True)
            assert bool((gradient.abs() <= steep[row] + 1e-12).all())


def test_what_rounding_may_do_to_a_margin_is_taken_off_its_radius():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    network, x = Network.capture(nn.Sequential(layer), (3,)).prepare(), torch.rand(4, 3)
    label = layer(x).detach().argmax(1)
    exact, weight = layer.double(), layer.weight.detach()
    outputs = exact(x.double()).detach()
    margin, constant = (outputs[:, 0] - outputs[:, 1]).abs(), (weight[0] - weight[1]).abs().sum()
    radius = certified_radius(network, x, robust(label, 2).rows(), "linf")
    assert bool((radius.double() * constant < margin).all())
    torch.testing.assert_close(radius.double(), margin / constant, rtol=1e-4, atol=2e-6)
