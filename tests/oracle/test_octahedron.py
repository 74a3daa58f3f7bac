"""Vertices of octahedra whose three units differ in size, against exact arrangements of lines."""

from __future__ import annotations

import functools
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
import torch
from torch import nn

from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.octahedron import directions, vertices
from epsball.verification.programs.triangle import TriangleLp

Point = tuple[Fraction, ...]


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cross(a, b):
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def arrangement(low: np.ndarray, high: np.ndarray) -> set[Point]:
    """Every edge is a piece of the line where two planes meet: its ends inside the region, and where it goes through z_i = 0."""
    normals = [tuple(int(c) for c in d) for d in directions()]
    sides = [(n, Fraction(float(e))) for n, e in zip(normals, high, strict=True)]
    sides += [(tuple(-c for c in n), -Fraction(float(e))) for n, e in zip(normals, low, strict=True)]
    axes = [((1, 0, 0), Fraction(0)), ((0, 1, 0), Fraction(0)), ((0, 0, 1), Fraction(0))]
    found = set()
    for (n, a), (m, b) in combinations(sides + axes, 2):
        along = _cross(n, m)
        if not any(along):
            continue
        # the point of both planes that is nearest to 0
        start = [Fraction(x * a + y * b) / _dot(along, along) for x, y in zip(_cross(m, along), _cross(along, n), strict=True)]
        first, last, empty = None, None, False
        for normal, end in sides:
            rate, left = _dot(normal, along), end - _dot(normal, start)
            if rate == 0:
                empty |= left < 0
            elif rate > 0:
                last = left / rate if last is None else min(last, left / rate)
            else:
                first = left / rate if first is None else max(first, left / rate)
        if empty or first > last:
            continue
        stops = {first, last} | {-start[i] / along[i] for i in range(3) if along[i]}
        found |= {tuple(s + t * d for s, d in zip(start, along, strict=True)) for t in stops if first <= t <= last}
    return found


def _ends(ratio: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of all directions over a cloud of points, whose three axes differ in size; some looser, as CROWN's are."""
    rng = np.random.default_rng(seed)
    size = np.array([1.0, ratio**0.5, ratio])[rng.permutation(3)]
    cloud = (rng.standard_normal((6, 3)) @ rng.standard_normal((3, 3)) + 0.3 * rng.standard_normal(3)) * size
    values = cloud @ directions().T
    loose = rng.uniform(0, 0.3, 13) * (rng.random(13) < 0.5) * np.ptp(values, 0)
    return values.min(0) - loose, values.max(0) + loose


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("ratio", [1.0, 1e2, 1e4, 1e8, 1e10])
def test_all_vertices_and_no_others(ratio, seed):
    low, high = _ends(ratio, seed)
    want = {tuple(float(c) for c in point) for point in arrangement(low, high)}
    got = vertices(low, high)
    assert {tuple(point) for point in got.tolist()} == want
    assert len(want) >= 8


def test_flat_empty_and_endless_regions():
    low, high = _ends(1e4, 0)
    low[0] = high[0]  # a plane
    want = {tuple(float(c) for c in point) for point in arrangement(low, high)}
    assert {tuple(point) for point in vertices(low, high).tolist()} == want
    assert want
    low[0] = np.nextafter(high[0], np.inf)
    assert len(vertices(low, high)) == 0
    for bad in (np.inf, np.nan):
        high[2] = bad
        assert len(vertices(low, high)) == 0


@functools.cache
def _three(ratio: float) -> tuple[Network, torch.Tensor]:
    """Three units of different size; the output adds them up in their own scales, each against its share of the input."""
    generator = torch.Generator().manual_seed(3)
    first, last = nn.Linear(3, 3).double(), nn.Linear(3, 2).double()
    size = torch.tensor([1.0, ratio**0.5, ratio], dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(size[:, None] * (torch.randn(3, 3, generator=generator, dtype=torch.float64) + 0.6))
        first.bias.copy_(0.2 * size * torch.randn(3, generator=generator, dtype=torch.float64))
        last.weight.copy_(torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]], dtype=torch.float64) / size)
        last.bias.zero_()
    return Network.capture(nn.Sequential(first, nn.ReLU(), last), (3,)), torch.zeros(1, 3, dtype=torch.float64)


@pytest.mark.parametrize("ratio", [1.0, 1e4, 1e8, 1e10])
def test_bounds_of_units_of_different_size_hold_at_every_point(ratio):
    network, x = _three(ratio)
    box = Box(x, 1.0)
    forms = torch.tensor(list(product((-1.0, 0.5), repeat=2)), dtype=torch.float64)[:, None]
    bounds = MultiNeuron()(network.prepare(), box, Rows(forms))[:, 0]
    side = torch.linspace(-1, 1, 41, dtype=torch.float64)
    y = network.module(torch.cartesian_prod(side, side, side)).detach()
    least = (forms[:, 0] @ y.T).amin(1)
    assert bool((bounds <= least + 1e-9).all())
    triangle = TriangleLp()(network.prepare(), box, Rows(forms))[:, 0]
    assert bool((bounds >= triangle - 1e-7).all())
