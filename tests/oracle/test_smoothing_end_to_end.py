"""Noise, selection, schedule and decision together, where p_A is known: as many false certificates as computed."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from epsball.smoothing.core import Smoothed
from epsball.smoothing.noises.continuous import Gaussian, Laplace, Uniform
from epsball.smoothing.statistics.procedures import Fixed
from epsball.smoothing.statistics.sequential import Sequential

DISTANCE = 0.25


def half_line(x):
    move = x.flatten(1)[:, 0] - 0.25
    return torch.stack((move, -move), 1)


@pytest.mark.parametrize("noise", [Gaussian(0.25), Uniform(0.5), Laplace(0.25)], ids=repr)
def test_false_certificates_are_as_frequent_as_computed(noise):
    images, alpha, procedure = 1200, 0.1, Sequential(cap=1024, growth=0.2)
    x = torch.full((images, 1), 0.25 + DISTANCE)
    smoothed = Smoothed(half_line, noise, 2, seed=7)
    exact = procedure.at(noise.needed(DISTANCE, (1,)), alpha).boundary.course(noise.needed(DISTANCE, (1,)))
    found = smoothed.certify_at(x, DISTANCE, alpha=alpha, procedure=procedure)
    false = sum(c.label == 0 for c in found)
    assert binomtest(false, images, exact.total).pvalue > 1e-4
    assert binomtest(false, images, alpha, alternative="greater").pvalue > 1e-4
    assert false > 0
    mean = sum(c.samples - c.selection for c in found) / images
    assert mean == pytest.approx(exact.samples, rel=0.1)


def test_largest_radius_exceeds_the_truth_at_most_alpha_often():
    images, alpha = 500, 0.1
    x = torch.full((images, 1), 0.25 + DISTANCE)
    for procedure in (Sequential(cap=1024), Fixed(300)):
        found = Smoothed(half_line, 0.25, 2, seed=3).certify(x, alpha=alpha, procedure=procedure)
        false = sum(c.radius > DISTANCE for c in found)
        assert binomtest(false, images, alpha, alternative="greater").pvalue > 1e-4
    assert false > alpha / 2 * images  # Clopper-Pearson is nearly exact at 300
