"""Recipes against formulas written out in plain torch: lower and upper bounds through W+ and W-, one layer at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig, BadData
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress, recipes
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.standard import Standard
from plain_formulas import assert_equal, batch, gradient_norm, naive, naive_regularisers, network


@pytest.mark.slow
@pytest.mark.parametrize("step", [10, 15, 19, 25])
def test_ibp_is_the_plain_formula(step: int) -> None:
    module, data = network(), batch()
    net, recipe = Network.capture(module, (2, 6, 6)), IbpTraining(0.1, warmup=1, ramp=1)
    at = Progress(step, 100, 10)
    share = min(1.0, (step - 10) / 10)
    natural, robust, _, _ = naive(module, data.x, data.y, 0.1 * share)
    kappa = 1 - share / 2
    loss = recipe.loss(net, data, at)
    assert_equal(module, loss.total, kappa * natural + (1 - kappa) * robust)
    assert ("robust" in loss.parts) == (share > 0)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "eps"), [(0, 1e-6), (13, None), (30, 0.1)])
@pytest.mark.parametrize("tau", [0.5, 0.9])
def test_fast_ibp_is_the_plain_formula(step: int, eps: float | None, tau: float) -> None:
    module, data = network(), batch()
    net, recipe = Network.capture(module, (2, 6, 6)), FastIbp(0.1, warmup=1, ramp=1, tolerance=tau, regularisation=0.7)
    at = Progress(step, 100, 10)
    eps = recipe.eps_at(at) if eps is None else eps
    natural, robust, pre, first = naive(module, data.x, data.y, eps)
    tight, balance = naive_regularisers(pre, first, tau)
    loss = recipe.loss(net, data, at)
    if step == 30:
        assert set(loss.parts) == {"robust"}, "nothing is added once eps is at its maximum"
        assert_equal(module, loss.total, robust)
        return
    weight = 0.7 * (1 - (0.0 if step == 0 else eps) / 0.1)
    torch.testing.assert_close(loss.parts["tightness"], tight, rtol=1e-7, atol=0)
    torch.testing.assert_close(loss.parts["balance"], balance, rtol=1e-7, atol=1e-12)
    assert tight > 0
    assert balance > 0
    assert_equal(module, loss.total, (natural if step == 0 else robust) + weight * (tight + balance))


@pytest.mark.slow
def test_float32_parity() -> None:
    module, data = network().float(), batch()
    data = Batch(data.x.float(), data.y)
    net, recipe = Network.capture(module, (2, 6, 6)), FastIbp(0.1, warmup=0, ramp=1)
    at = Progress(5, 100, 10)
    _, robust, pre, first = naive(module, data.x, data.y, recipe.eps_at(at))
    theirs = robust + recipe.weight_at(at) * sum(naive_regularisers(pre, first, 0.5))
    ours = recipe.loss(net, data, at).total
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient_norm(ours, module), gradient_norm(theirs, module), rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [IbpTraining(0.1, warmup=0, ramp=1, kappa_end=1.0), IbpTraining(0.1, warmup=2), IbpTraining(0.0, warmup=0, ramp=0)]
)
def test_kappa_1_and_eps_0_are_standard_training(recipe: IbpTraining) -> None:
    module, data, at = network(), batch(), Progress(10, 1000, 10)
    net = Network.capture(module, (2, 6, 6))
    ours = recipe.loss(net, data, at)
    module.train()
    theirs = Standard().loss(net, data, at)
    assert_equal(module, ours.total, theirs.total)
    for name, value in ours.buffers.items():
        torch.testing.assert_close(value, module.state_dict()[name])


def wide() -> Network:
    layers = [nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 3)]
    return Network.capture(nn.Sequential(*layers), (64,))


@pytest.mark.slow
def test_ibp_initialisation_needs_no_tightness_at_the_first_step() -> None:
    # The input is no ReLU's output, so the first layer doubles the mean width: its ratio is 1/2 = tau up to chance.
    net, at = wide(), Progress(0, 100, 10)
    data = Batch(torch.rand(16, 64), torch.arange(16) % 3)

    def first_step(name: str, tau: float, seed: int) -> float:
        recipe = FastIbp(0.1, warmup=0, ramp=1, initialisation=name, tolerance=tau)
        torch.manual_seed(seed)
        recipe.initialise(net)
        return recipe.loss(net, data, at).parts["tightness"].item()

    assert [first_step("ibp", 0.4, seed) for seed in range(5)] == [0.0] * 5
    assert sum(first_step("ibp", 0.5, seed) for seed in range(5)) / 5 < 0.05
    assert min(first_step("default", 0.4, seed) for seed in range(5)) > 0.6


def test_gradients_are_finite_when_no_unit_is_stable_or_the_box_is_empty() -> None:
    net, at = wide(), Progress(5, 100, 10)
    data = Batch(torch.rand(16, 64), torch.arange(16) % 3)
    for eps, clip in ((1.0, None), (1e-30, (0.0, 1.0))):
        recipe = FastIbp(eps, warmup=0, ramp=1, clip=clip)
        recipe.initialise(net)
        loss = recipe.loss(net, data, at)
        assert all(g.isfinite().all() for g in torch.autograd.grad(loss.total, list(net.module.parameters())))


def test_the_box_is_clipped() -> None:
    net = wide()
    data = Batch(torch.zeros(4, 64), torch.arange(4) % 3)
    at = Progress(100, 100, 10)
    cut, whole = (IbpTraining(0.1, warmup=0, ramp=0, clip=c).loss(net, data, at).parts["robust"] for c in ((0.0, 1.0), None))
    assert cut < whole


@pytest.mark.parametrize(
    "make",
    [
        lambda: IbpTraining(-0.1),
        lambda: IbpTraining(math.nan),
        lambda: IbpTraining(8.0),
        lambda: IbpTraining(0.1, clip=(1.0, 0.0)),
        lambda: IbpTraining(0.1, kappa_end=1.5),
        lambda: IbpTraining(0.1, initialisation="xavier"),
        lambda: IbpTraining(0.1, warmup=-1),
        lambda: FastIbp(0.1, tolerance=0.0),
        lambda: FastIbp(0.1, regularisation=-1.0),
        lambda: Standard(initialisation="none"),
        lambda: recipes["fast_ipb"],
    ],
)
def test_refused_options(make) -> None:
    with pytest.raises(BadConfig):
        make()


def test_refused_runs() -> None:
    data = Examples(torch.rand(10, 3) * 2, torch.zeros(10, dtype=torch.int64))
    with pytest.raises(BadConfig, match="warm-up and ramp take 21 epochs"):
        IbpTraining(0.1).check(data, Progress(0, 100, 10))
    with pytest.raises(BadData, match="outside the valid range"):
        IbpTraining(0.1, warmup=0, ramp=1).check(data, Progress(0, 100, 10))
    pictures = Examples(torch.full((2, 3), 200, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(BadData, match="outside the valid range"):
        IbpTraining(0.1, warmup=0, ramp=1, clip=(0.0, 0.5)).check(pictures, Progress(0, 100, 10))
    assert set(recipes) >= {"standard", "ibp", "fast-ibp"}


@pytest.mark.slow
def test_a_network_without_relus_has_no_regularisers() -> None:
    net = Network.capture(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), (4,))
    data = Batch(torch.rand(6, 4), torch.arange(6) % 3)
    recipe = FastIbp(0.1, warmup=1, ramp=1)
    assert set(recipe.loss(net, data, Progress(0, 100, 10)).parts) == {"natural"}
    assert set(recipe.loss(net, data, Progress(15, 100, 10)).parts) == {"robust"}
