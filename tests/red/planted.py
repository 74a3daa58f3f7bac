"""Planted counterexamples: a narrow dent at a known point of the exact set, where no gradient outside it points.

Every network answers class 0 at the centre and another class at the planted point, evaluated in its own precision; around the
dent it is flat, or slopes the other way. Whatever an attack finds, no method may say `verified`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tests.red.families import From
from tests.red.regions import Region
from torch import Tensor, nn

Dent = Callable[[Tensor, Tensor, float], Tensor]  # inputs, the point, a width: 1 at the point, 0 away from it


@dataclass(frozen=True)
class Planted:
    """A network, its ball, and the point that breaks it."""

    seed: int
    family: str
    module: nn.Module
    region: Region
    point: Tensor


def sum_of_distances(x: Tensor, p: Tensor, w: float) -> Tensor:
    return torch.relu(1 - (x - p).abs().sum(1, keepdim=True) / w)


def paired_relus(x: Tensor, p: Tensor, w: float) -> Tensor:
    away = torch.relu(x - p) + torch.relu(p - x)
    return torch.relu(1 - away.sum(1, keepdim=True) / w)


def largest_distance(x: Tensor, p: Tensor, w: float) -> Tensor:
    return torch.relu(1 - (x - p).abs().amax(1, keepdim=True) / w)


def product_of_tents(x: Tensor, p: Tensor, w: float) -> Tensor:
    tents = torch.relu(1 - (x - p).abs() / w)
    out = tents[:, :1]
    for i in range(1, x.shape[1]):
        out = out * tents[:, i : i + 1]
    return out


def scalars(x: Tensor, p: Tensor, w: float) -> Tensor:
    """Written over numbers a sample, as control code is."""
    total = (x[:, 0] - p[0]).abs()
    for i in range(1, x.shape[1]):
        total = torch.maximum(total, (x[:, i] - p[i]).abs())
    return torch.relu(1 - total / w).unsqueeze(1)


def steep_gates(x: Tensor, p: Tensor, w: float) -> Tensor:
    """Saturated sigmoids: the gradient is 0 in floats nearly everywhere."""
    inside = torch.sigmoid(60 * (1 - (x - p).abs() / w))
    return torch.sigmoid(80 * (inside.sum(1, keepdim=True) - (x.shape[1] - 0.5)))


def saturated_tanh(x: Tensor, p: Tensor, w: float) -> Tensor:
    bump = torch.tanh(40 * (x - p + w) / w) - torch.tanh(40 * (x - p - w) / w)
    return torch.relu(bump.sum(1, keepdim=True) - 2 * x.shape[1] + 1)


def squares(x: Tensor, p: Tensor, w: float) -> Tensor:
    return torch.relu(1 - (x - p).square().sum(1, keepdim=True) / w**2)


def gaussian(x: Tensor, p: Tensor, w: float) -> Tensor:
    return torch.exp(-((x - p) / w).square().sum(1, keepdim=True))


DENTS: dict[str, Dent] = {
    f.__name__: f
    for f in (
        sum_of_distances, paired_relus, largest_distance, product_of_tents, scalars, steep_gates, saturated_tanh, squares, gaussian,
    )
}  # fmt: skip


def planted(seed: int) -> Planted:
    """The network of a seed, dents in turn; every second round is float32."""
    rng = np.random.default_rng([seed, 41])
    name = list(DENTS)[seed % len(DENTS)]
    dtype = (torch.float64, torch.float32)[seed // len(DENTS) % 2]
    d, eps = int(rng.integers(2, 7)), float(rng.integers(2, 9)) / 16
    width = eps * float(rng.choice([0.3, 0.1, 0.03, 0.01]))
    centre = torch.from_numpy(rng.integers(-16, 17, (1, d)) / 16.0).to(dtype)
    region = Region(str(rng.choice(["linf", "linf", "l2"])), centre, eps)
    far = torch.from_numpy(rng.uniform(-1, 1, (1, d))).to(dtype)
    far = far / far.abs().max() if region.kind == "linf" else far / far.norm()
    point = region.pull(0, centre + eps * float(rng.uniform(0.5, 1.0)) * far)[0]
    module = _network(rng, DENTS[name], point, width, far[0]).to(dtype).eval()
    made = Planted(seed, name, module, region, point)
    if not is_planted(made):
        raise AssertionError(f"seed {seed}: nothing is planted")
    return made


def _network(rng: np.random.Generator, dent: Dent, point: Tensor, width: float, far: Tensor) -> nn.Module:
    """The lead of class 0 is 1 + slope - (3 + slope there) * dent, where the slope leads away from the dent."""
    slope = float(rng.choice([0.0, 0.1, 1.0])) / len(point) * far / far.abs().max()
    depth = 3.0

    def call(m: nn.Module, x: Tensor) -> Tensor:
        lead = 1.0 + ((x - m.point) * m.slope).sum(1, keepdim=True).tanh() * 0.5 - depth * dent(x, m.point, width)
        return torch.cat((lead, torch.zeros_like(lead)), 1)

    made = From(call)
    made.register_buffer("point", point.clone())
    made.register_buffer("slope", -slope)
    return made


def is_planted(case: Planted) -> bool:
    """The point lies in the exact set and is answered 1, the centre 0."""
    with torch.no_grad():
        there, centre = case.module(case.point[None])[0], case.module(case.region.centre)[0]
    return bool(case.region.contains(0, case.point) and there[1] > there[0] and centre[0] > centre[1])
