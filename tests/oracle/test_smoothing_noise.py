"""Certificates against classifiers whose smoothed version is known exactly, and the laws of the noise themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from epsball.errors import BadConfig
from epsball.smoothing.noises.continuous import Gaussian, Laplace, Uniform, noises

ADDITIVE = (Gaussian(0.25), Uniform(0.5), Laplace(0.3))


def law(noise):
    if isinstance(noise, Gaussian):
        return stats.norm(scale=noise.sigma)
    return stats.uniform(-noise.width, 2 * noise.width) if isinstance(noise, Uniform) else stats.laplace(scale=noise.width)


@pytest.mark.parametrize("noise", ADDITIVE, ids=repr)
def test_samples_follow_the_law(noise):
    x = torch.tensor([0.25, 0.5])
    out = torch.empty(20_000, 2)
    noise.fill(out, x, torch.Generator().manual_seed(0))
    for k in (0, 1):
        assert stats.kstest((out[:, k] - x[k]).double().numpy(), law(noise).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(out.double().numpy().T)[0, 1]) < 0.03
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("noise", ADDITIVE, ids=repr)
@pytest.mark.parametrize("distance", [0.01, 0.1, 0.3, 0.45])
def test_half_line_in_one_dimension_is_exact(noise, distance):
    """f says A above 0. At `distance` the smoothed class flips exactly at the boundary: the certificate must be the distance."""
    p = float(law(noise).cdf(distance))
    radii = noise.radii(p, 1 - p, (1,))
    assert radii[noise.norm] == pytest.approx(distance, rel=1e-9)
    assert noise.needed(distance, (1,)) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("noise", ADDITIVE, ids=repr)
def test_two_sided_is_one_sided_at_the_rest_and_grows(noise):
    norm = noise.norm
    base = noise.radii(0.8, 0.2, (4,))[norm]
    assert noise.radii(0.8, 0.1, (4,))[norm] > base
    assert noise.radii(0.85, 0.15, (4,))[norm] > base
    assert noise.radii(0.4, 0.3, (4,))[norm] > 0
    assert noise.radii(0.3, 0.4, (4,))[norm] == 0
    assert noise.radii(0.0, 1.0, (4,))[norm] == 0


def test_uniform_linf_is_the_overlap_of_boxes():
    """Worst case of a shift by r in all d coordinates: A loses the whole mass that leaves the overlap."""
    noise, size, p = Uniform(0.5), 6, 0.9
    r = noise.radii(p, 1 - p, (size,))["linf"]
    assert p - (1 - (1 - r / (2 * noise.width)) ** size) == pytest.approx(0.5, abs=1e-12)
    assert r > noise.radii(p, 1 - p, (size,))["l1"] / size


def test_gaussian_radii_that_follow():
    radii = Gaussian(0.5).radii(0.9, 0.1, (3, 4, 4))
    assert radii["l2"] == pytest.approx(0.5 * stats.norm.ppf(0.9))
    assert radii["l1"] == radii["l2"]
    assert radii["linf"] == pytest.approx(radii["l2"] / math.sqrt(48))


@pytest.mark.parametrize("noise", [Uniform, Laplace, Gaussian])
def test_scales_must_be_positive(noise):
    with pytest.raises(BadConfig, match="positive"):
        noise(0.0)


def test_uniform_cannot_reach_beyond_its_width():
    with pytest.raises(BadConfig, match="cannot certify"):
        Uniform(0.5).needed(0.5, (1,))


def test_noises_have_names():
    assert {"gaussian", "uniform", "laplace"} <= set(noises)
