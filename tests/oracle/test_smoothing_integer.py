"""Integer noise: its law, exact sums, and radii next to the Gaussian's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm

from epsball.errors import BadConfig, BadData
from epsball.smoothing.core import Smoothed
from epsball.smoothing.noises.continuous import Gaussian
from epsball.smoothing.noises.integer import IntegerGaussian, _table
from epsball.smoothing.statistics.procedures import Fixed


def test_the_law_is_the_rounded_normal():
    noise = IntegerGaussian(0.01)  # 2.55 steps
    out = torch.empty(200, 1000)
    noise.fill(out, torch.full((1000,), 100 / 255), torch.Generator().manual_seed(0))
    steps = (out * 255).round().long().flatten().numpy() - 100
    edges = np.arange(-8, 9)
    expected = np.diff(norm.cdf(np.concatenate(([-np.inf], (edges[:-1] + 0.5) / 2.55, [np.inf]))))
    observed = np.bincount(np.clip(steps, -8, 8) + 8, minlength=17)
    assert chisquare(observed, expected * steps.size).pvalue > 1e-4


def test_the_table_is_exact_in_both_tails():
    lowest, table = _table(2.55)
    shares = table.double().numpy() / 2.0**63
    k = lowest + np.arange(len(table))
    np.testing.assert_allclose(shares, norm.cdf((k + 0.5) / 2.55), rtol=1e-12, atol=2.0**-62)
    left, right = table[0], 2**63 - 1 - int(table[-1])
    assert abs(int(left) - right) <= 1
    assert bool((table[1:] >= table[:-1]).all())


def test_sums_are_exact_shifts():
    """The same draws around two pictures differ by the pictures' difference, to the last step: nothing leaks."""
    noise, x = IntegerGaussian(0.5), torch.arange(200) / 255
    a, b = torch.empty(64, 200), torch.empty(64, 200)
    noise.fill(a, x, torch.Generator().manual_seed(1))
    noise.fill(b, x + 7 / 255, torch.Generator().manual_seed(1))
    assert torch.equal((b * 255).round() - (a * 255).round(), torch.full_like(a, 7))
    assert torch.equal(a, ((a * 255).round() / 255))


def test_radii_are_the_gaussian_ones_less_the_slack():
    noise, inputs = IntegerGaussian(0.25), (3, 224, 224)
    ours, theirs = noise.radii(0.99, 0.01, inputs)["l2"], Gaussian(0.25).radii(0.99, 0.01, inputs)["l2"]
    assert theirs - 1e-5 < ours < theirs
    assert noise.needed(0.5, inputs) > Gaussian(0.25).needed(0.5, inputs)
    assert noise.slack((1, 28, 28)) < 1e-9


def test_certifies_and_refuses():
    def f(x):
        return torch.stack((x[:, 0] - 0.3, 0.3 - x[:, 0]), 1)

    (certificate,) = Smoothed(f, IntegerGaussian(0.25), 2).certify(torch.tensor([[200 / 255]]), procedure=Fixed(20_000))
    assert 0.45 < certificate.radius < 200 / 255 - 0.3
    with pytest.raises(BadData, match="k/255"):
        Smoothed(f, IntegerGaussian(0.25), 2).certify(torch.tensor([[0.3333]]))
    with pytest.raises(BadConfig, match="sigma"):
        IntegerGaussian(0.0)
