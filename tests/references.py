"""Slow, independent oracles of the convex bounds: enumeration, the triangle LP, the dual of Wong and Kolter, zonotopes."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn


def random_mlp(seed: int, sizes=(3, 4, 4, 2)) -> tuple[nn.Module, list[tuple[np.ndarray, np.ndarray]]]:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    module = nn.Sequential(*layers[:-1]).double()
    weights = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in module if isinstance(m, nn.Linear)]
    return module, weights


def exact(weights, x, eps, c) -> float:
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


def triangle_lp(weights, x, eps, c, pre) -> float:
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


def preactivations(network, method, input_set):
    found = method.known(network, input_set).found
    slots = [step.args[0] for step in network.nonlinear]
    return [(found[s].lower[0].numpy(), found[s].upper[0].numpy()) for s in slots]


def wong_kolter(weights, x, eps, c) -> float:
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


def zonotope(weights, x, eps, c) -> float:
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
