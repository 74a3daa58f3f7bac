"""CROWN against four oracles: the exact minimum by enumeration, the triangle LP, Wong and Kolter's dual, and zonotopes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from benchmarks.networks import seeded
from scipy.optimize import linprog
from torch import nn

import zoo
from epsball.bounding.base import output_interval
from epsball.bounding.crown import Crown, CrownIbp
from epsball.bounding.ibp import Ibp
from epsball.graph.network import Network
from epsball.spec.property import Property, robust
from epsball.spec.sets import Box


def _random_mlp(seed: int, sizes=(3, 4, 4, 2)) -> tuple[nn.Module, list[tuple[np.ndarray, np.ndarray]]]:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    module = nn.Sequential(*layers[:-1]).double()
    weights = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module if isinstance(m, nn.Linear)]
    return module, weights


def _exact(weights, x, eps, c) -> float:
    """The least of `c . f` over the box, one LP for each pattern of active ReLUs."""
    widths = [len(b) for _, b in weights[:-1]]
    best = np.inf
    for pattern in itertools.product((0, 1), repeat=sum(widths)):
        A, bias, rows, ends, start = np.eye(len(x)), np.zeros(len(x)), [], [], 0
        for (W, b), width in zip(weights[:-1], widths, strict=True):
            A, bias = W @ A, W @ bias + b
            on = np.array(pattern[start : start + width])
            sign = np.where(on, -1.0, 1.0)  # active: -z <= 0, inactive: z <= 0
            rows.append(sign[:, None] * A)
            ends.append(-sign * bias)
            A, bias = on[:, None] * A, on * bias
            start += width
        W, b = weights[-1]
        objective, constant = c @ W @ A, c @ (W @ bias + b)
        found = linprog(objective, np.vstack(rows), np.concatenate(ends), bounds=list(zip(x - eps, x + eps, strict=True)))
        if found.status == 0:
            best = min(best, found.fun + constant)
    return best


def _triangle_lp(weights, x, eps, c, pre) -> float:
    """The least of `c . f` over the triangle relaxation with these pre-activation bounds."""
    sizes = [len(x)] + [n for _, b in weights[:-1] for n in (len(b), len(b))]
    total = sum(sizes)
    offset = np.cumsum([0, *sizes])
    eq, eq_b, ub, ub_b = [], [], [], []
    bounds = list(zip(x - eps, x + eps, strict=True)) + [(None, None)] * (total - len(x))
    before = 0
    for k, (W, b) in enumerate(weights[:-1]):
        z, h = 2 * k + 1, 2 * k + 2
        block = np.zeros((len(b), total))
        block[:, offset[before] : offset[before + 1]] = W
        block[:, offset[z] : offset[z + 1]] -= np.eye(len(b))
        eq.append(block)
        eq_b.append(-b)
        for i, (l, u) in enumerate(zip(*pre[k], strict=True)):
            row = np.zeros((3, total))
            zi, hi = offset[z] + i, offset[h] + i
            if l >= 0 or u <= 0:
                row[0, hi], row[0, zi] = 1, -1.0 if l >= 0 else 0.0
                eq.append(row[:1])
                eq_b.append(np.zeros(1))
                continue
            row[0, hi] = -1
            row[1, hi], row[1, zi] = -1, 1
            row[2, hi], row[2, zi] = u - l, -u
            ub.append(row)
            ub_b.append(np.array([0, 0, -u * l]))
        before = h
    W, b = weights[-1]
    objective = np.zeros(total)
    objective[offset[before] : offset[before + 1]] = c @ W
    found = linprog(
        objective,
        np.vstack(ub) if ub else None,
        np.concatenate(ub_b) if ub else None,
        np.vstack(eq),
        np.concatenate(eq_b),
        bounds,
    )
    return found.fun + c @ b


def _preactivations(network, method, input_set):
    found, _ = method.relax(network, input_set)
    slots = [step.args[0] for step in network.nonlinear]
    return [(found[s].lower[0].numpy(), found[s].upper[0].numpy()) for s in slots]


@pytest.mark.parametrize("seed", range(12))
def test_exact_above_lp_above_crown(seed):
    """At equal intermediate bounds the methods are ordered; every one is below the exact minimum."""
    module, weights = _random_mlp(seed)
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, dtype=torch.float64)
    eps = 0.4
    c = np.array([1.0, -1.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    exact = _exact(weights, x[0].numpy(), eps, c)
    for method in (
        Crown(),
        Crown(slope="same", intermediate="crown"),
        Crown(slope="zero"),
        Crown(slope="one"),
        CrownIbp(),
    ):
        crown = float(method(network, Box(x, eps), rows))
        lp = _triangle_lp(weights, x[0].numpy(), eps, c, _preactivations(network, method, Box(x, eps)))
        assert crown <= lp + 1e-7
        assert lp <= exact + 1e-7
    assert float(Ibp()(network, Box(x, eps), rows)) <= exact + 1e-9


def _wong_kolter(weights, x, eps, c) -> float:
    """The dual bound of Wong and Kolter 2018 (Theorem 1), with bounds built layer by layer by the same dual."""
    pre: list[tuple[np.ndarray, np.ndarray]] = []

    def dual(k: int, c_row: np.ndarray) -> float:
        """Lower bound of `c . z_k`, z_k the pre-activation after layer k."""
        value, nu = 0.0, c_row
        for i in range(k, -1, -1):
            W, b = weights[i]
            value += nu @ b
            nu_hat = W.T @ nu
            if i == 0:
                return value + nu_hat @ x - eps * np.abs(nu_hat).sum()
            l, u = pre[i - 1]
            unstable = (l < 0) & (u > 0)
            slope = np.where(unstable, u / np.where(unstable, u - l, 1), (u > 0).astype(float))
            nu = slope * nu_hat
            value += (np.where(unstable, l, 0) * np.maximum(-nu, 0)).sum()
        raise AssertionError

    for k in range(len(weights) - 1):
        unit = np.eye(len(weights[k][1]))
        lower = np.array([dual(k, e) for e in unit])
        upper = np.array([-dual(k, -e) for e in unit])
        pre.append((lower, upper))
    return dual(len(weights) - 1, c)


def _zonotope(weights, x, eps, c) -> float:
    """DeepZ: an affine form with one new noise symbol for each unstable ReLU, at the chord's slope."""
    centre, generators = x.copy(), np.eye(len(x)) * eps
    for k, (W, b) in enumerate(weights):
        centre, generators = W @ centre + b, W @ generators
        if k == len(weights) - 1:
            break
        radius = np.abs(generators).sum(1)
        l, u = centre - radius, centre + radius
        unstable = (l < 0) & (u > 0)
        slope = np.where(unstable, u / np.where(unstable, u - l, 1), (u > 0).astype(float))
        half = np.where(unstable, -slope * l / 2, 0)
        centre, generators = slope * centre + half, np.hstack([slope[:, None] * generators, np.diag(half)])
    return c @ centre - np.abs(c @ generators).sum()


@pytest.mark.parametrize("seed", range(20))
def test_same_slope_crown_is_wong_kolters_dual_and_the_zonotope(seed):
    module, weights = _random_mlp(seed, (4, 6, 5, 5, 3))
    network = Network.capture(module, (4,)).prepare()
    x = torch.rand(1, 4, dtype=torch.float64)
    c = np.array([1.0, -1.0, 0.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    crown = float(Crown(slope="same", intermediate="crown")(network, Box(x, 0.3), rows))
    assert crown == pytest.approx(_zonotope(weights, x[0].numpy(), 0.3, c), abs=1e-9)
    assert crown == pytest.approx(_wong_kolter(weights, x[0].numpy(), 0.3, c), abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "eps", "method", "want"),
    [
        ("mlp", 0.02, Ibp(), -5.5195), ("mlp", 0.02, CrownIbp(), -2.55555), ("mlp", 0.02, Crown(), -0.39805),
        ("mlp", 0.1, Ibp(), -26.58944), ("mlp", 0.1, CrownIbp(), -13.96212), ("mlp", 0.1, Crown(), -7.07453),
        ("cnn4", 0.02, Ibp(), -287.54739), ("cnn4", 0.02, CrownIbp(), -151.76521), ("cnn4", 0.02, Crown(), 0.07072),
    ],
)  # fmt: skip
def test_mean_margins_equal_those_of_auto_lirpa(kind, eps, method, want):
    """Values of auto_LiRPA 0.7.1 on seeded networks: equal to 1e-4, or tighter."""
    module, x, y = seeded(kind, 1)
    network = Network.capture(module, (1, 28, 28)).prepare()
    prop = robust(y, 10)
    with torch.no_grad():
        got = float(method(network, Box(x, eps, clip=(0.0, 1.0)), prop.rows()).mean())
    assert got >= want - 1e-4 * abs(want)
    assert got == pytest.approx(want, rel=1e-3)


def test_tightest_intermediate_bounds_are_never_wider():
    for name in ("mlp", "conv", "residual", "pools"):
        module, shape = zoo.build(name, 0, torch.float64)
        network = Network.capture(module, shape).prepare()
        box = Box(torch.rand(2, *shape, dtype=torch.float64), 0.1)
        loose, _ = CrownIbp().relax(network, box)
        tight, _ = Crown().relax(network, box)
        for step in network.nonlinear:
            for slot in step.args:
                assert bool((tight[slot].lower >= loose[slot].lower - 1e-9).all())
                assert bool((tight[slot].upper <= loose[slot].upper + 1e-9).all())
        assert bool((output_interval(Crown(), network, box).width <= output_interval(Ibp(), network, box).width + 1e-9).all())
