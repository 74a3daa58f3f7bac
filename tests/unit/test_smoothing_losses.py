"""Losses against formulas written out sample by sample, and the ascents against a linear network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from epsball.smoothing import losses
from epsball.smoothing.core import Smoothed
from epsball.smoothing.resume import description
from epsball.smoothing.statistics.procedures import Fixed


@pytest.fixture
def logits():
    return torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y():
    return torch.tensor([0, 3, 1, 1, 2])


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_gaussian_and_soft_cross_entropy(logits, y):
    p = softmax(logits.detach().numpy())
    each = [-math.log(p[j, b, int(y[b])]) for j in range(3) for b in range(5)]
    assert float(losses.gaussian(logits, y)) == pytest.approx(np.mean(each))
    soft = [-math.log(p[:, b, int(y[b])].mean()) for b in range(5)]
    assert losses.soft_cross_entropy(logits, y).tolist() == pytest.approx(soft)


def test_consistency_written_out(logits, y):
    p = softmax(logits.detach().numpy())
    mean = p.mean(0)
    kl = np.mean([(mean[b] * np.log(mean[b] / p[j, b])).sum() for j in range(3) for b in range(5)])
    entropy = np.mean([-(mean[b] * np.log(mean[b])).sum() for b in range(5)])
    expected = float(losses.gaussian(logits, y)) + 7 * kl + 0.5 * entropy
    assert float(losses.consistency(logits, y, strength=7.0, entropy=0.5)) == pytest.approx(expected)


def test_macer_written_out(logits, y):
    z = logits.detach().numpy()
    mean, sharp = softmax(z).mean(0), softmax(2 * z).mean(0)
    expected = np.mean([-math.log(mean[b, int(y[b])]) for b in range(5)])
    counted = 0
    for b in range(5):
        own, other = sharp[b, int(y[b])], np.delete(sharp[b], int(y[b])).max()
        xi = norm.ppf(own) - norm.ppf(other)
        if own > other and xi <= 8:
            expected += 12 * 0.25 / 2 * (8 - xi) / 5
            counted += 1
    assert counted
    assert float(losses.macer(logits, y, sigma=0.25, beta=2.0)) == pytest.approx(expected)


def test_smoothmix_written_out(logits, y):
    mixed = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    share = torch.tensor([0.0, 0.1, 0.5, 0.3, 0.2], dtype=torch.float64)
    mean, q = softmax(logits.detach().numpy()).mean(0), softmax(mixed.numpy())
    expected = float(losses.gaussian(logits, y))
    for b in range(5):
        if mean[b].argmax() == int(y[b]):
            target = (1 - float(share[b])) * mean[b] + float(share[b]) / 4
            expected += 5 * np.mean([(target * np.log(target / q[j, b])).sum() for j in range(3)]) / 5
    assert float(losses.smoothmix(logits, mixed, y, share)) == pytest.approx(expected)


def test_losses_have_finite_gradients_when_the_network_is_certain(y):
    certain = (300.0 * torch.eye(4)[torch.stack((y, y, (y + 1) % 4))]).requires_grad_()
    for loss in (losses.gaussian(certain, y), losses.consistency(certain, y), losses.macer(certain, y, 0.25)):
        (gradient,) = torch.autograd.grad(loss, certain, retain_graph=True)
        assert bool(gradient.isfinite().all())


def test_ascents_move_against_a_linear_network():
    net = nn.Linear(6, 2, bias=False)
    x, y = torch.rand(4, 6), torch.tensor([0, 1, 0, 1])
    noise = losses.noisy(x, 0.25, 3, torch.Generator().manual_seed(0))
    assert noise.shape == (3, 4, 6)
    direction = (net.weight[1] - net.weight[0]).detach()
    direction = direction / direction.norm()
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    moved = losses.smooth_adversary(net, x, y, noise, eps=0.5, steps=4)
    torch.testing.assert_close(moved - x, 0.5 * signs * direction, rtol=1e-3, atol=1e-4)
    far = losses.smoothmix_points(net, x, y, noise, steps=3, size=0.05)
    torch.testing.assert_close(far, (x + 0.15 * signs * direction).clamp(0, 1), rtol=1e-2, atol=1e-2)
    assert net.weight.grad is None


def test_denoiser_losses(logits, y):
    x, denoised = torch.rand(5, 7), torch.rand(3, 5, 7)
    assert float(losses.reconstruction(denoised, x)) == pytest.approx(np.mean((denoised.numpy() - x.numpy()) ** 2), rel=1e-5)
    clean = 0.1 * torch.eye(4)[y].requires_grad_()
    assert torch.equal(losses.stability(logits, clean), losses.gaussian(logits, y))


def test_a_denoiser_learns_what_a_fixed_classifier_needs():
    """Inputs are one of two constant vectors: averaging over features is the denoiser, and a linear one finds it."""
    generator = torch.Generator().manual_seed(0)
    classifier = nn.Linear(16, 2)
    classifier.weight.data = torch.zeros(2, 16)
    classifier.weight.data[:, 0] = torch.tensor([-9.0, 9.0])  # it reads one noisy feature
    classifier.bias.data = torch.tensor([4.5, -4.5])
    y = torch.arange(64) % 2
    x = (0.25 + 0.5 * y[:, None]).expand(64, 16).contiguous()
    denoiser = nn.Linear(16, 16)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=0.02)
    for _ in range(200):
        noise = losses.noisy(x, 0.5, 2, generator)
        loss = losses.reconstruction(denoiser(x + noise), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    certified = []
    for module in (classifier, nn.Sequential(denoiser, classifier)):
        found = Smoothed(module.eval(), 0.5, 2).certify_at(x[:16], 0.25, procedure=Fixed(1000))
        certified.append(sum(c.label == int(label) for c, label in zip(found, y, strict=False)))
    assert certified == [0, 16]


def test_another_noise_or_network_is_described_otherwise():
    net = nn.Linear(4, 3)
    same = description(Smoothed(net, 0.25, 3), Fixed(1000), 0.001, 100)
    assert same == description(Smoothed(net, 0.25, 3), Fixed(1000), 0.001, 100)
    noisier = description(Smoothed(net, 0.5, 3), Fixed(1000), 0.001, 100)
    assert {name for name in same if same[name] != noisier[name]} == {"noise"}
    net.weight.data[0, 0] += 1e-6
    moved = description(Smoothed(net, 0.25, 3), Fixed(1000), 0.001, 100)
    assert {name for name in same if same[name] != moved[name]} == {"model"}
