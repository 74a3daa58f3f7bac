"""Recipes for smoothing against formulas written out draw by draw on the same noise, and the limits where they train plainly."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn.functional import cross_entropy

from epsball.device import generator
from epsball.errors import BadConfig, BadData
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress, recipes
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy, NoisyAccuracy, judged_at
from epsball.training.events import Epoch, Finished, Stepped
from epsball.training.loop import fit
from epsball.training.recipes.consistency import Consistency
from epsball.training.recipes.gaussian import GaussianTraining
from epsball.training.recipes.macer import Macer
from epsball.training.recipes.noise import NoiseTraining
from epsball.training.recipes.smoothadv import SmoothAdv
from epsball.training.recipes.smoothmix import SmoothMix
from epsball.training.recipes.standard import Standard
from epsball.training.state import TrainState

SIGMA, B, K = 0.4, 6, 4
AT = Progress(50, 100, 10)


@pytest.fixture
def module() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 16), nn.Tanh(), nn.Linear(16, K))


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.rand(B, 1, 5, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 1, 1, 2, 0]))


def drawn(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The noise of a step after `torch.manual_seed(7)`, and what is drawn next."""
    torch.manual_seed(7)
    random = generator(torch.device("cpu"), int(torch.randint(2**62, ())))
    return SIGMA * torch.randn(samples, B, 1, 5, 5, generator=random), torch.rand(B)


def loss(recipe, module, batch, at: Progress = AT):
    torch.manual_seed(7)
    return recipe.loss(Network.capture(module, tuple(batch.x.shape[1:])), batch, at)


def softmax(module, x) -> np.ndarray:
    """Double precision, one input at a time."""
    with torch.no_grad():
        z = module(x).double().numpy()
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def plain(module, x, noise, y) -> tuple[np.ndarray, float]:
    """Shares (m, B, K) and their mean cross-entropy."""
    p = np.stack([softmax(module, x + n) for n in noise])
    return p, float(np.mean([-math.log(p[j, b, int(y[b])]) for j in range(len(noise)) for b in range(B)]))


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 3])
def test_gaussian_is_the_plain_formula(module, batch, samples):
    noise, _ = drawn(samples)
    found = loss(GaussianTraining(SIGMA, samples=samples), module, batch)
    assert found.total.item() == pytest.approx(plain(module, batch.x, noise, batch.y)[1], rel=1e-5)
    assert found.parts["regulariser"].item() == 0


def test_any_noise_is_the_plain_formula(module, batch):
    """Uniform noise drawn input by input, each from its own seed; and blocks of seen pixels at a place drawn so."""
    torch.manual_seed(7)
    seeds = torch.randint(2**62, (B,)).tolist()
    own = [generator(torch.device("cpu"), seed) for seed in seeds]
    noise = torch.stack([torch.empty(1, 5, 5).uniform_(-SIGMA, SIGMA, generator=g) for g in own])
    expected = plain(module, batch.x, noise[None], batch.y)[1]
    assert loss(NoiseTraining("uniform", SIGMA), module, batch).total.item() == pytest.approx(expected, rel=1e-5)
    places = [int(torch.randint(25, (), generator=generator(torch.device("cpu"), seed))) for seed in seeds]
    hidden = torch.full_like(batch.x, 0.25)
    for b, place in enumerate(places):
        for row in (place // 5, (place // 5 + 1) % 5):
            for column in (place % 5, (place % 5 + 1) % 5):
                hidden[b, 0, row, column] = batch.x[b, 0, row, column]
    expected = plain(module, hidden, torch.zeros(1, B, 1, 5, 5), batch.y)[1]
    assert loss(NoiseTraining("block-ablation", 2, hidden=0.25), module, batch).total.item() == pytest.approx(expected, rel=1e-5)


def test_consistency_is_the_plain_formula(module, batch):
    noise, _ = drawn(3)
    p, natural = plain(module, batch.x, noise, batch.y)
    mean = p.mean(0)
    divergence = np.mean([(mean * np.log(mean / p[j])).sum(1).mean() for j in range(3)])
    entropy = -(mean * np.log(mean)).sum(1).mean()
    found = loss(Consistency(SIGMA, samples=3, strength=7.0, entropy=0.3), module, batch)
    assert found.total.item() == pytest.approx(natural + 7 * divergence + 0.3 * entropy, rel=1e-5)
    assert found.parts["natural"].item() == pytest.approx(natural, rel=1e-5)


def test_macer_is_the_plain_formula(module, batch):
    noise, _ = drawn(5)
    y = batch.y.numpy()
    p, _ = plain(module, batch.x, noise, batch.y)
    sharp = p**3 / (p**3).sum(2, keepdims=True)  # the softmax of 3 z
    mean, own = p.mean(0)[range(B), y], sharp.mean(0)[range(B), y]
    other = np.array([np.delete(sharp.mean(0)[b], y[b]).max() for b in range(B)])
    xi = norm.ppf(own) - norm.ppf(other)
    counted = (xi >= 0) & (xi <= 0.5)
    assert 0 < counted.sum() < B
    expected = np.mean(-np.log(mean)) + 4 * SIGMA / 2 * (0.5 - xi[counted]).sum() / B
    found = loss(Macer(SIGMA, samples=5, strength=4, gap=0.5, beta=3), module, batch)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)


def climbed(module, x, y, noise, step, steps, keep) -> torch.Tensor:
    """Ascent of `-log mean_j p_y` in double precision, one input at a time, each step put through `keep(moved, start)`."""
    double, found = module.double(), []
    for b in range(B):
        start = x[b : b + 1].double()
        at = start.clone()
        for _ in range(steps):
            at.requires_grad_()
            shares = torch.stack([double(at + n[b : b + 1].double()).softmax(1)[0, y[b]] for n in noise])
            (gradient,) = torch.autograd.grad(-shares.mean().log(), at)
            at = keep(at.detach() + step * gradient / gradient.norm(), start)
        found.append(at)
    module.float()
    return torch.cat(found).float()


def within(eps):
    def keep(moved, start):
        change = moved - start
        return start + change * min(1.0, eps / change.norm().item())

    return keep


def test_smoothadv_is_the_plain_formula(module, batch):
    noise, _ = drawn(2)
    x = climbed(module, batch.x, batch.y, noise, 2 * 0.6 / 3, 3, within(0.6))
    assert (x - batch.x).flatten(1).norm(dim=1).tolist() == pytest.approx([0.6] * B, rel=1e-4)
    recipe = SmoothAdv(SIGMA, samples=2, eps=1.2, steps=3, ramp=10)
    assert recipe.eps_at(AT) == pytest.approx(0.6)
    expected = plain(module, x, noise, batch.y)[1]
    found = loss(recipe, module, batch)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    assert expected > plain(module, batch.x, noise, batch.y)[1]


def test_smoothmix_is_the_plain_formula(module, batch):
    noise, uniform = drawn(2)
    share = (0.5 * uniform).double().numpy()
    far = climbed(module, batch.x, batch.y, noise, 0.8, 4, lambda moved, _: moved.clamp(0, 1))
    mixture = batch.x + torch.tensor(share).float().view(-1, 1, 1, 1) * (far - batch.x)
    p, natural = plain(module, batch.x, noise, batch.y)
    q, mean = plain(module, mixture, noise, batch.y)[0], p.mean(0)
    target = (1 - share[:, None]) * mean + share[:, None] / K
    right = mean.argmax(1) == batch.y.numpy()
    assert 0 < right.sum() < B
    divergence = (target * np.log(target / q)).sum(2).mean(0)
    found = loss(SmoothMix(SIGMA, samples=2, steps=4, step_size=0.8, strength=6, ramp=10), module, batch)
    assert found.total.item() == pytest.approx(natural + 3 * (right * divergence).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "smoothadv", "consistency", "macer", "smoothmix"])
def test_at_sigma_0_and_weight_0_each_is_plain_training(module, batch, name):
    off = {
        "smoothadv": {"eps": 0.0},
        "consistency": {"strength": 0.0, "entropy": 0.0},
        "macer": {"strength": 0.0},
        "smoothmix": {"strength": 0.0},
    }
    recipe = recipes[name](sigma=0.0, **off.get(name, {}))
    natural = cross_entropy(module(batch.x), batch.y)
    theirs = torch.autograd.grad(natural, list(module.parameters()))
    found = loss(recipe, module, batch)
    assert found.total.item() == pytest.approx(natural.item(), rel=1e-5)
    ours = torch.autograd.grad(found.total, list(module.parameters()))
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_a_constant_network_is_consistent(module, batch):
    nn.init.zeros_(module[-1].weight)
    found = loss(Consistency(SIGMA, strength=10, entropy=0), module, batch)
    assert found.parts["regulariser"].item() == pytest.approx(0, abs=1e-6)
    p = softmax(module, batch.x)[0]
    with_entropy = loss(Consistency(SIGMA, strength=10, entropy=0.5), module, batch)
    assert with_entropy.parts["regulariser"].item() == pytest.approx(-0.5 * (p * np.log(p)).sum(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [SmoothAdv(SIGMA, ramp=0), SmoothMix(SIGMA, ramp=0)])
def test_the_attack_leaves_batch_norm_alone(batch, recipe):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, K))
    net, passes = Network.capture(module, (1, 5, 5)), []
    module.train()
    module[2].register_forward_hook(lambda layer, *_: passes.append(layer.training))
    recipe.loss(net, batch, AT).total.backward()
    learning = 2 if isinstance(recipe, SmoothMix) else 1
    assert passes.count(True) == learning
    assert passes.count(False) == recipe.steps
    assert int(module[2].num_batches_tracked) == learning
    assert all(p.grad is not None and p.requires_grad for p in module.parameters())


def test_noisy_accuracy_of_a_linear_network():
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    network = Network.capture(net, (2,))
    data = Examples(torch.tensor([[0.3, 5.0]]).repeat(4000, 1), torch.zeros(4000, dtype=torch.int64))
    scores = NoisyAccuracy(0.5, draws=5)(network, data)
    assert (scores.clean, scores.verified) == (1.0, None)
    expected = norm.cdf(0.3 / 0.5)
    assert abs(scores.noisy - expected) < 4 * math.sqrt(expected * (1 - expected) / 20_000)
    assert NoisyAccuracy(0.5, draws=5)(network, data) == scores
    assert NoisyAccuracy(0.0)(network, data).noisy == 1.0
    assert scores.rank == (scores.noisy, 1.0)


def blobs(count: int = 120) -> Examples:
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 6, generator=torch.Generator().manual_seed(0))
    x[torch.arange(count), y] += 0.5
    return Examples(x, y)


CONFIG = TrainConfig(epochs=3, batch=20, lr=2e-2, validation=0.2, checkpoint_every=3)


def small() -> Network:
    return Network.capture(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), (6,))


def test_a_run_is_judged_and_selected_under_noise_and_goes_on_exactly():
    recipe = SmoothAdv(0.2, eps=0.3, steps=2, ramp=1)
    judge = judged_at(recipe, TrainConfig(), None)
    assert judge == NoisyAccuracy(0.2)
    assert judged_at(Standard(), TrainConfig(), None) == IbpAccuracy(0.0, None)
    events = list(fit(small(), recipe, blobs(), CONFIG, judge))
    epochs = [e for e in events if isinstance(e, Epoch)]
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.selected.noisy == max(e.scores.noisy for e in epochs)
    assert last.selected.verified is None
    assert last.selected.noisy > 0.5
    stepped = [e for e in islice(fit(small(), recipe, blobs(), CONFIG, judge), 12) if isinstance(e, Stepped)]
    run = fit(small(), recipe, blobs(), CONFIG, judge)
    state = next(e.snapshot() for e in run if isinstance(e, Stepped) and e.step == stepped[-1].step)
    again = TrainState.unpack(*state.pack(), "here")
    end = list(fit(small(), recipe, blobs(), CONFIG, judge, state=again))[-1]
    assert all(torch.equal(end.selected.model[k], v) for k, v in last.selected.model.items())
    assert end.selected.noisy == last.selected.noisy


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gaussian", {"sigma": -0.1}, "sigma must be"),
        ("gaussian", {"sigma": math.nan}, "sigma must be"),
        ("gaussian", {"sigma": 0.5, "samples": 0}, "samples must be"),
        ("gaussian", {"sigma": 0.5, "initialisation": "xavier"}, "unknown initialisation"),
        ("consistency", {"sigma": 0.5, "samples": 1}, "at least 2"),
        ("consistency", {"sigma": 0.5, "strength": -1.0}, "strength must be"),
        ("smoothadv", {"sigma": 0.5, "eps": -1.0}, "eps must be"),
        ("smoothadv", {"sigma": 0.5, "steps": 0}, "steps must be"),
        ("macer", {"sigma": 0.5, "gap": math.inf}, "gap must be"),
        ("smoothmix", {"sigma": 0.5, "ramp": -1.0}, "ramp must be"),
    ],
)
def test_refused_options(name, options, said):
    with pytest.raises(BadConfig, match=said):
        recipes[name](**options)


def test_refused_runs():
    with pytest.raises(BadConfig, match="the run has 3"):
        fit(small(), SmoothAdv(0.2, ramp=4), blobs(), CONFIG, NoisyAccuracy(0.2))
    data = blobs()
    with pytest.raises(BadData, match=r"keeps them in \[0, 1\]"):
        fit(small(), SmoothMix(0.2, ramp=0), replace(data, x=data.x * 3), CONFIG, NoisyAccuracy(0.2))
