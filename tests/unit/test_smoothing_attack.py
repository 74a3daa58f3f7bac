"""The attack on a smoothed classifier: it finds the boundary of a linear one, and never succeeds inside a certificate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig
from epsball.smoothing.attack import SmoothPGD, nearest
from epsball.smoothing.core import Smoothed
from epsball.smoothing.noises.continuous import Uniform
from epsball.smoothing.statistics.sequential import Sequential


@pytest.fixture
def plane():
    net = nn.Linear(6, 2)
    net.weight.data = 4 * torch.tensor([[0.5, -0.5, 0.3, 0.1, 0.0, 0.2], [-0.5, 0.5, -0.3, -0.1, 0.0, -0.2]])
    net.bias.data.zero_()
    return net.eval()


def distances(net, x):
    w = (net.weight[0] - net.weight[1]).detach()
    return (x @ w).abs() / w.norm()


def test_it_reaches_the_plane_and_not_before(plane):
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3
    y = plane(x).argmax(1)
    exact = distances(plane, x)
    smoothed = Smoothed(plane, 0.25, 2)
    attack = SmoothPGD(steps=8, samples=16)
    far = attack(smoothed, x, y, float(exact.max()) * 1.5)
    assert bool(far.success.all())
    assert bool((far.radius <= exact.max() * 1.5 * (1 + 1e-5)).all())
    assert bool(((far.x >= 0) & (far.x <= 1)).all())
    inside = attack(smoothed, x, y, float(exact.min()) * 0.9)
    assert not bool(inside.success.any())


@pytest.mark.slow
def test_certificates_and_attack_bracket_the_boundary():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    net[0].weight.data *= 3
    net[0].bias.data = -0.5 * net[0].weight.data.sum(1)  # both classes and their boundaries lie about the middle
    net[2].bias.data.zero_()
    x = torch.rand(12, 8, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    smoothed = Smoothed(net, 0.2, 3)
    certificates = smoothed.certify(x, procedure=Sequential(cap=20_000))
    keep = [k for k, c in enumerate(certificates) if c.label is not None and c.radius > 0.01]
    assert len(keep) >= 5
    y = torch.tensor([certificates[k].label for k in keep])
    reached = nearest(SmoothPGD(steps=8, samples=16), smoothed, x[keep], y, [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8])
    certified = torch.tensor([certificates[k].radius for k in keep])
    assert bool((reached >= certified).all())
    assert float((reached <= 2 * certified).double().mean()) >= 0.5


def test_bad_options_and_noise_without_gradient(plane):
    with pytest.raises(BadConfig, match="steps"):
        SmoothPGD(steps=0)
    with pytest.raises(BadConfig, match="eps"):
        SmoothPGD()(Smoothed(plane, 0.25, 2), torch.rand(1, 6), torch.tensor([0]), -1.0)
    found = SmoothPGD(steps=2)(Smoothed(plane, Uniform(0.3), 2), torch.rand(1, 6), torch.tensor([0]), 0.1)
    assert found.x.shape == (1, 6)
