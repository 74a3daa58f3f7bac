"""What a training step is made of: initialisation, the clean pass, fused sums, worst-case logits, evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import zoo
from epsball.bounding.base import output_interval
from epsball.bounding.ibp import Ibp as IbpBounds
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.forms.interval import Interval
from epsball.ops.network import Network
from epsball.ops.prepared import prepare
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.training.evaluate import IbpAccuracy
from epsball.training.initialise import Default, IbpInitialisation, Keep, initialise
from epsball.training.interval_pass import Bounded, training_box
from epsball.training.kernels import batch_norm, states
from epsball.training.layers import census
from epsball.training.regularise import balance, tightness
from epsball.training.statistics import check_batch_norm, clean_pass


@pytest.mark.slow
@pytest.mark.parametrize("fan_in", [27, 576, 1152])
@pytest.mark.parametrize("initialisation", [Default(), IbpInitialisation()])
def test_difference_gain_over_100_trials(initialisation, fan_in: int) -> None:
    torch.manual_seed(0)
    net = Network.capture(nn.Sequential(nn.Linear(fan_in, 64), nn.ReLU(), nn.Linear(64, 2)), (fan_in,))
    gains = []
    for _ in range(100):
        initialisation(net)
        gains.append(fan_in / 2 * net.module[0].weight.abs().mean().item())
    assert sum(gains) / 100 == pytest.approx(initialisation.gain(fan_in), rel=0.01)


@pytest.mark.slow
def test_ibp_initialisation_by_layer() -> None:
    torch.manual_seed(0)
    module, shape = zoo.build("residual")
    net = Network.capture(module, shape)
    stem, conv, other, head = (getattr(module, name).weight for name in ("stem", "conv", "other", "head"))
    deviations = {"stem": [], "conv": [], "other": []}
    for _ in range(50):
        IbpInitialisation()(net)
        for name, weight in (("stem", stem), ("conv", conv), ("other", other)):
            deviations[name].append(weight.std().item())
    base = math.sqrt(2 * math.pi)
    mean = {name: sum(v) / 50 for name, v in deviations.items()}
    assert mean["stem"] == pytest.approx(base / 18, rel=0.1)
    assert mean["conv"] == pytest.approx(base / 36, rel=0.1)
    assert mean["other"] == pytest.approx(base / 4 / 2, rel=0.15), "its input is a ReLU of a sum: halved"
    assert head.abs().max() <= 0.5, "the last layer keeps PyTorch's default"


@pytest.mark.slow
def test_initialisation_follows_a_transposed_weight_and_refuses_a_reparametrised_one() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = nn.Parameter(torch.zeros(5, 6)), nn.Parameter(torch.zeros(6, 3))

        def forward(self, x):
            return torch.relu(x @ self.w) @ self.v

    plain = Plain()
    IbpInitialisation()(Network.capture(plain, (5,)))
    assert plain.w.std() > 0
    assert plain.v.abs().sum() == 0
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(BadConfig, match="one parameter"):
        IbpInitialisation()(Network.capture(normed, (4,)))


@pytest.mark.slow
def test_keep_changes_nothing_and_unknown_names_are_refused() -> None:
    module, shape = zoo.build("mlp")
    before = module[0].weight.clone()
    Keep()(Network.capture(module, shape))
    assert torch.equal(module[0].weight, before)
    with pytest.raises(BadConfig, match="did you mean"):
        initialise("ipb")


def normed(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8, momentum=0.3),
        nn.ReLU(), nn.Linear(8, 3),
    ).to(dtype)  # fmt: skip


@pytest.mark.slow
def test_clean_pass_is_the_module_in_training_mode() -> None:
    module, x = normed(), torch.rand(6, 1, 7, 7, dtype=torch.float64)
    net = Network.capture(module, (1, 7, 7))
    clean = clean_pass(net.plan, net.params(), x)
    module.train()
    expected = module(x)
    torch.testing.assert_close(clean.logits, expected)
    assert set(clean.running) == {"1.running_mean", "1.running_var", "5.running_mean", "5.running_var"}
    for name, value in clean.running.items():
        torch.testing.assert_close(value, module.state_dict()[name])
        assert not value.requires_grad
    ours = torch.autograd.grad(clean.logits.square().sum(), list(module.parameters()))
    theirs = torch.autograd.grad(expected.square().sum(), list(module.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_bounds_under_clean_statistics_hold_the_training_output_and_carry_gradients() -> None:
    module, x = normed(), torch.rand(6, 1, 7, 7, dtype=torch.float64)
    net = Network.capture(module, (1, 7, 7))
    params = net.params()
    clean = clean_pass(net.plan, params, x, logits=False)
    assert clean.logits is None
    network = prepare(net.plan, params | clean.statistics)
    bounds = output_interval(IbpBounds(), network, Box(x, 0.0))
    module.train()
    assert bounds.contains(module(x), 1e-9).all()
    assert bounds.width.abs().max() < 1e-9
    clean.statistics["1.running_var"].sum().backward()
    assert module[0].weight.grad.abs().sum() > 0


def test_without_batch_norm_the_clean_pass_is_empty() -> None:
    module, shape = zoo.build("mlp")
    net = Network.capture(module, shape)
    clean = clean_pass(net.plan, net.params(), torch.rand(4, *shape), logits=False)
    assert (clean.logits, clean.statistics, clean.running) == (None, {}, {})


@pytest.mark.slow
def test_batch_norms_that_cannot_be_trained() -> None:
    net = Network.capture(normed(), (1, 7, 7))
    with pytest.raises(BadConfig, match="more than one value a channel"):
        check_batch_norm(net.plan, 1)
    with pytest.raises(BadConfig, match="more than one value"):
        clean_pass(net.plan, net.params(), torch.rand(1, 1, 7, 7, dtype=torch.float64))
    shared = nn.BatchNorm1d(4)
    twice = Network.capture(nn.Sequential(nn.Linear(4, 4), shared, nn.ReLU(), nn.Linear(4, 4), shared), (4,))
    with pytest.raises(BadConfig, match="applied twice"):
        check_batch_norm(twice.plan, 8)
    cumulative = Network.capture(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=None)), (4,))
    with pytest.raises(BadConfig, match="momentum"):
        check_batch_norm(cumulative.plan, 8)


def test_fused_batch_norm_and_states_against_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda *a: tuple(batch_norm(*a, 1e-3)), (x, weight, bias))
    value, _, var = batch_norm(x, weight, bias, 1e-3)
    torch.testing.assert_close(var, x.var((0, 2), correction=0))
    torch.testing.assert_close(value, F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-3))
    centre, radius = torch.randn(5, 7, dtype=torch.float64), 0.3 * torch.rand(5, 7, dtype=torch.float64)
    ends = (centre - radius).requires_grad_(), (centre + radius).requires_grad_()
    assert torch.autograd.gradcheck(lambda low, high: tuple(states(Interval(low, high)))[:5], ends)
    found = states(Interval(*ends))
    active, inactive, spread = ends[0] > 0, ends[1] < 0, (centre - centre.mean()).square()
    for got, expected in zip(
        found,
        (
            2 * radius.mean(),
            centre[active].sum(),
            centre[inactive].sum(),
            spread[active].sum(),
            spread[inactive].sum(),
            active.sum(),
            inactive.sum(),
        ),
        strict=True,
    ):
        torch.testing.assert_close(got, expected.double())


@pytest.mark.parametrize("shift", [-50.0, 50.0])
def test_empty_sets_of_units_add_nothing_and_no_nan(shift: float) -> None:
    low = (torch.randn(4, 5) + shift).requires_grad_()
    layers = [states(Interval(low, low + 0.1))]
    loss = balance(layers, 0.5)
    loss.backward()
    assert loss.item() == 0.0
    assert low.grad.abs().sum() == 0.0


def test_regularisers_of_a_zero_width_layer_are_finite() -> None:
    low = torch.randn(4, 5, requires_grad=True)
    layers = [states(Interval(low, low.clone()))]
    (tightness(torch.tensor(0.0), layers, 0.5) + balance(layers, 0.5)).backward()
    assert low.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "conv", "residual", "pools", "max_pool_last", "affine_only", "shapes"])
@pytest.mark.parametrize("batch", [2, 6])
def test_worst_logits_are_the_bounders_margins(name: str, batch: int) -> None:
    module, shape = zoo.build(name, dtype=torch.float64)
    net = Network.capture(module, shape)
    x, y = torch.rand(batch, *shape, dtype=torch.float64), torch.arange(batch) % 3
    network, box = net.prepare(), Box(x, 0.05, (0.0, 1.0))
    worst = Bounded.over(network, box.hull()).worst_logits(y)
    margins = IbpBounds()(network, box, robust(y, 3, torch.float64).rows())
    assert worst.gather(1, y[:, None]).abs().max() < 1e-12
    others = worst[torch.nn.functional.one_hot(y, 3) == 0].view(batch, 2)
    torch.testing.assert_close(others, -margins.T)


def test_first_width_is_the_normalised_input() -> None:
    module = zoo.Fn(
        lambda m, x: m.head(torch.relu(m.body(((x - 0.5) / 0.25).flatten(1)))), body=nn.Linear(8, 4), head=nn.Linear(4, 2)
    )
    net = Network.capture(module, (2, 2, 2))
    x = torch.rand(3, 2, 2, 2)
    box = training_box(x, 0.1, (0.0, 1.0))
    bounded = Bounded.over(net.prepare(), box)
    torch.testing.assert_close(bounded.input.width.mean(), box.width.mean() * 4)
    assert len(bounded.relus) == 1


def test_evaluation_agrees_with_the_verifiers_own_bounds() -> None:
    torch.manual_seed(0)
    module, shape = zoo.build("conv")
    net = Network.capture(module, shape)
    x = torch.rand(40, *shape)
    y = module(x).argmax(1)
    y[:10] = (y[:10] + 1) % 3
    eps = 0.02
    scores = IbpAccuracy(eps, batch=16)(net, Examples(x, y))
    margins = IbpBounds()(net.prepare(), Box(x, eps, (0.0, 1.0)), robust(y, 3).rows())
    proven = (margins > 1e-5).all(0)
    assert scores.clean == 0.75
    assert 0 < scores.verified == proven.double().mean().item() < 0.75
    assert IbpAccuracy(0.5).verifier == "ibp"


def test_census_counts_units() -> None:
    body = nn.Linear(2, 3, bias=True)
    with torch.no_grad():
        body.weight.copy_(torch.eye(3, 2))
        body.bias.copy_(torch.tensor([1.0, -9.0, 0.0]))
    net = Network.capture(nn.Sequential(body, nn.ReLU(), nn.Linear(3, 2)), (2,))
    layer = census(net, Examples(torch.full((4, 2), 0.5), torch.zeros(4, dtype=torch.int64)), 0.1, None)[0]
    assert layer == ("1", pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx(0.0), 3)


def test_rows_of_pairs_equal_rows_of_samples() -> None:
    module, shape = zoo.build("mlp", dtype=torch.float64)
    net = Network.capture(module, shape)
    x, y = torch.rand(7, *shape, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    bounded = Bounded.over(net.prepare(), Interval(x - 0.1, x + 0.1))
    together = bounded.worst_logits(y)
    alone = torch.cat(
        [Bounded.over(net.prepare(), Interval(x[i : i + 1] - 0.1, x[i : i + 1] + 0.1)).worst_logits(y[i : i + 1]) for i in range(7)]
    )
    torch.testing.assert_close(together, alone)
