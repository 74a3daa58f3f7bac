"""Networks whose exact radius is known in closed form: dyadic weights and inputs, so that it is a rational number.

Every network answers class 0 at its centre, and `least(eps)` is the exact least lead of class 0 over the ball: positive below the
radius, negative beyond it. Most draw the radius first and set the last bias so that the lead is 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from tests.red.families import From
from tests.red.regions import Region
from torch import Tensor, nn

Least = Callable[[Fraction], Fraction]
Q = Fraction


@dataclass(frozen=True)
class Known:
    """A network, its ball, and what is true of it."""

    seed: int
    family: str
    group: str  # linear, corner or other
    module: nn.Module
    centre: Tensor
    radius: Fraction
    least: Least
    units: int
    norm: str = "linf"
    clip: tuple[float, float] | None = None

    def region(self, factor: float) -> Region:
        """The ball of so many radii; which side of the radius it lies on is checked in rationals."""
        eps = float(self.radius * Fraction(factor))
        if (Fraction(eps) < self.radius) != (factor < 1):
            raise AssertionError("eps fell on the other side of the radius")
        return Region(self.norm, self.centre, eps, None, self.clip)


def dyadic(rng: np.random.Generator, *shape: int, low: int = -8, high: int = 8, bits: int = 3) -> np.ndarray:
    """Whole numbers without 0, over a power of two."""
    values = rng.integers(low, high + 1, shape)
    return np.where(values == 0, 1, values) / 2.0**bits


def fractions(values: np.ndarray) -> list[Fraction]:
    return [Q(float(v)) for v in np.ravel(values)]


def layer(weight: np.ndarray, bias: np.ndarray | list[Fraction]) -> nn.Linear:
    made = nn.Linear(np.shape(weight)[1], np.shape(weight)[0])
    made.weight = nn.Parameter(torch.from_numpy(np.array(weight, dtype=np.float64)))
    made.bias = nn.Parameter(torch.tensor([float(b) for b in bias], dtype=torch.float64))
    return made


def lead(row: np.ndarray, bias: Fraction, extra: bool = False) -> nn.Linear:
    """Logits (row . h + bias, 0), and one that is always lower than 0 where wanted."""
    rows = [row, 0 * row] + ([0 * row] if extra else [])
    return layer(np.stack(rows), [bias, Q(0)] + ([Q(-4)] if extra else []))


def sizes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Powers of two by which hidden units are multiplied, and divided again by the next layer: the function stays."""
    return 2.0 ** rng.choice([0, 0, 0, 5, 13, 27, -13], n)


def _root(drop: Least, high: Fraction) -> tuple[Fraction, Fraction]:
    """A radius below `high`, and the lead at the centre that is used up there."""
    return high, drop(high)


def linear_clipped(rng, d):
    w, c = dyadic(rng, d), dyadic(rng, d, low=1, high=15, bits=4)
    room = [cc if ww > 0 else 1 - cc for ww, cc in zip(w, fractions(c), strict=True)]
    size = [abs(v) for v in fractions(w)]

    def drop(e):
        return sum((s * min(e, r) for s, r in zip(size, room, strict=True)), Q(0))

    r, t = _root(drop, Q(int(rng.integers(4, 20)), 64))
    if drop(r + Q(1, 1000)) == t:  # every feature at the end of its range: beyond it nothing moves
        return linear_clipped(rng, d)
    bias = t - sum(a * b for a, b in zip(fractions(w), fractions(c), strict=True))
    return {"module": lead(w, bias, extra=True), "centre": c, "radius": r, "least": lambda e: t - drop(e), "clip": (0.0, 1.0)}


def linear_l2(rng, d):
    a, b, h = [(3, 4, 5), (5, 12, 13), (8, 15, 17)][int(rng.integers(3))]
    w = np.zeros(max(d, 2))
    w[rng.permutation(len(w))[:2]] = np.array([a, b]) * rng.choice([-1, 1], 2) / 16.0
    c, r = dyadic(rng, len(w)), Q(int(rng.integers(4, 20)), 64)
    t = r * Q(h, 16)
    bias = t - sum(x * y for x, y in zip(fractions(w), fractions(c), strict=True))
    return {"module": lead(w, bias), "centre": c, "radius": r, "least": lambda e: t - e * Q(h, 16), "norm": "l2"}


def water_filling(rng, d):
    c, a = dyadic(rng, d), dyadic(rng, d, low=0, high=12, bits=6)
    w, sign = dyadic(rng, d, low=1), rng.choice([-1.0, 1.0], d)
    big = sizes(rng, d)
    first = layer(np.diag(sign * big), list((-sign * c - a) * big))

    def drop(e):
        return sum((x * max(Q(0), e - y) for x, y in zip(fractions(w), fractions(a), strict=True)), Q(0))

    r, t = _root(drop, max(fractions(a)) / 2 + min(fractions(a)) + Q(1, 16))
    module = nn.Sequential(first, nn.ReLU(), lead(-w / big, t))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: t - drop(e), "units": d}


def paired_bias(rng, d):
    """relu(a + b + s) + relu(a - b + s): single units are relaxed to 3 e where 2 e is reached."""
    p = max(1, d // 2)
    c, s = dyadic(rng, 2 * p), dyadic(rng, p, low=-6, high=6, bits=6)
    w = dyadic(rng, p, low=1)
    weight, bias = np.zeros((2 * p, 2 * p)), []
    for j in range(p):
        weight[2 * j, [2 * j, 2 * j + 1]], weight[2 * j + 1, [2 * j, 2 * j + 1]] = (1, 1), (1, -1)
        bias += [s[j] - c[2 * j] - c[2 * j + 1], s[j] - c[2 * j] + c[2 * j + 1]]

    def drop(e):
        parts = zip(fractions(w), fractions(s), strict=True)
        return sum((x * (max(Q(0), 2 * e + y) + max(Q(0), y)) for x, y in parts), Q(0))

    r, t = _root(drop, Q(int(rng.integers(6, 24)), 64))
    big = sizes(rng, 2 * p)
    module = nn.Sequential(layer(weight * big[:, None], bias * big), nn.ReLU(), lead(-np.repeat(w, 2) / big, t))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: t - drop(e), "units": 2 * p}


def unimodular(rng, d):
    """relu(z) - relu(-z) is z, and z a unimodular map of the inputs: the network is linear, and no relaxation sees it."""
    u = np.tril(rng.integers(-1, 2, (d, d)), -1) + np.eye(d)
    u = u @ (np.triu(rng.integers(-1, 2, (d, d)), 1) + np.eye(d))
    c, w = dyadic(rng, d), dyadic(rng, d)
    z0 = -(u @ c) + dyadic(rng, d, bits=6)
    big = sizes(rng, 2 * d)
    first = layer(np.concatenate((u, -u)) * big[:, None], list(np.concatenate((z0, -z0)) * big))
    at = [Q(float(v)) for v in u @ c + z0]
    slope = sum((abs(v) for v in fractions(u.T @ w)), Q(0))
    if slope == 0:
        return unimodular(rng, d)
    r = Q(int(rng.integers(4, 24)), 64)
    t = r * slope
    bias = t + sum((x * y for x, y in zip(fractions(w), at, strict=True)), Q(0))
    module = nn.Sequential(first, nn.ReLU(), lead(np.concatenate((-w, w)) / big, bias))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: t - e * slope, "units": 2 * d}


def largest(rng, d):
    """The largest of affine forms must stay below a threshold."""
    k, style = int(rng.integers(2, 5)), int(rng.integers(3))
    a, c, top = dyadic(rng, k, d), dyadic(rng, d), dyadic(rng, k, low=0, high=6, bits=5)
    bias = [-(sum(fractions(row * c))) + Q(float(v)) for row, v in zip(a, top, strict=True)]
    slopes = [sum((abs(v) for v in fractions(row)), Q(0)) for row in a]

    def drop(e):
        return max(v + e * s for v, s in zip(fractions(top), slopes, strict=True))

    r, t = _root(drop, Q(int(rng.integers(4, 24)), 64))

    def call(m, x):
        z = m.forms(x)
        if style == 0:
            best = z.amax(1, keepdim=True)
        elif style == 1:
            best = z[:, :1]
            for j in range(1, k):
                best = torch.maximum(best, z[:, j : j + 1])
        else:
            best = z[:, :1]
            for j in range(1, k):
                best = best + torch.relu(z[:, j : j + 1] - best)
        return m.last(best)

    module = From(call, forms=layer(a, bias), last=lead(-np.ones(1), t))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: t - drop(e), "units": 2 * k}


def tents(rng, d):
    """Tents composed on one projection: 2^n teeth, of which the ball must not leave one."""
    n = int(rng.integers(1, 4))
    v, c = dyadic(rng, d), dyadic(rng, d)
    size = sum((abs(x) for x in fractions(v)), Q(0))
    period, tooth = Q(2, 2**n), int(rng.integers(0, 2 ** (n - 1)))
    theta, start = Q(int(rng.integers(1, 8)), 16), Q(int(rng.integers(-3, 4)), 16)
    peak = period * tooth + period / 2
    p0 = peak + start * (1 - theta) * period / 2
    away = (1 - theta) * period / 2 - abs(p0 - peak)
    r = away / size
    if r.denominator & (r.denominator - 1) == 0 and float(r) != r:
        return tents(rng, d)

    def least(e):
        far = abs(p0 - peak) + e * size
        return 1 - 2**n * far - theta  # on this tooth; beyond its foot the lead is at most -theta and this is lower

    def call(m, x):
        p = m.project(x)
        for _ in range(n):
            p = m.tent(torch.relu(m.kinks(p)))
        return m.last(p)

    kinks = layer(np.ones((3, 1)), [Q(0), Q(-1, 2), Q(-1)])
    tent = layer(np.array([[2.0, -4.0, 2.0]]), [Q(0)])
    project = layer(v[None], [p0 - sum(fractions(v * c))])
    module = From(call, project=project, kinks=kinks, tent=tent, last=lead(np.ones(1), -theta))
    return {"module": module, "centre": c, "radius": r, "least": least, "units": 3 * n}


def monotone(rng, d):
    """No weight is negative: the worst point is the lowest corner."""
    h, k, c = int(rng.integers(2, 5)), int(rng.integers(2, 4)), dyadic(rng, d)
    w1, w2 = dyadic(rng, h, d, low=0, bits=2), dyadic(rng, k, h, low=0, bits=2)
    b1, b2, w3 = dyadic(rng, h, bits=3), dyadic(rng, k, bits=3), dyadic(rng, k, low=1, bits=2)

    def answer(x):
        z = [
            max(Q(0), sum(Q(float(w)) * v for w, v in zip(row, x, strict=True)) + Q(float(b)))
            for row, b in zip(w1, b1, strict=True)
        ]
        z = [
            max(Q(0), sum(Q(float(w)) * v for w, v in zip(row, z, strict=True)) + Q(float(b)))
            for row, b in zip(w2, b2, strict=True)
        ]
        return sum((Q(float(w)) * v for w, v in zip(w3, z, strict=True)), Q(0))

    def at(e):
        return answer([v - e for v in fractions(c)])

    r = Q(int(rng.integers(4, 24)), 64)
    if not at(Q(0)) > at(r * Q(999, 1000)) > at(r) > at(r * Q(1001, 1000)):
        return monotone(rng, d)
    module = nn.Sequential(layer(w1, list(b1)), nn.ReLU(), layer(w2, list(b2)), nn.ReLU(), lead(w3, -at(r)))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: at(e) - at(r), "units": h + k}


def probability(rng, d):
    """The probability of class 0 must stay above a threshold; all other classes share one affine form."""
    k, c, w = int(rng.integers(1, 4)), dyadic(rng, d), dyadic(rng, d)
    theta = float(rng.integers(9, 15)) / 16
    need = Q(math.log(k * theta / (1 - theta)))  # to 1e-16: radii are asked for at 1 -+ 1e-6
    size, r0 = sum((abs(v) for v in fractions(w)), Q(0)), Q(int(rng.integers(4, 24)), 64)
    bias = Q(float(need + r0 * size - sum(fractions(w * c))))
    top = bias + sum(fractions(w * c))
    rows = np.concatenate((w[None], np.zeros((k, d))))

    def call(m, x):
        p = m.forms(x).softmax(1)[:, :1]
        return torch.cat((p, torch.full_like(p, theta)), 1) if k % 2 else torch.cat((p - theta, 0 * p), 1)

    def least(e):
        z = float(top - e * size)
        return Q(1 / (1 + k * math.exp(-z)) - theta)

    module = From(call, forms=layer(rows, [bias] + [Q(0)] * k))
    return {"module": module, "centre": c, "radius": (top - need) / size, "least": least, "units": 3 * (k + 1)}


def prototypes(rng, d):
    """Nearer in l_inf to h * s than to -h * s: the radius is half the sum of the ends of c * s."""
    h, s = Q(2), rng.choice([-1.0, 1.0], d)
    c = dyadic(rng, d, low=2, high=14, bits=4)
    r = (max(fractions(c)) + min(fractions(c))) / 2
    far = s * float(h)

    def call(m, x):
        there = m.plus(x).abs().amax(1)
        here = m.minus(x).abs().amax(1)
        return torch.stack((-here, -there), 1)

    plus, minus = layer(np.eye(d), list(far)), layer(np.eye(d), list(-far))
    return {
        "module": From(call, plus=plus, minus=minus), "centre": c * s, "radius": r, "least": lambda e: 2 * (r - e), "units": 4 * d
    }  # fmt: skip


def quadratic(rng, d):
    """t - a |x - c - v|^2 over a Euclidean ball around c."""
    a, b, h = [(3, 4, 5), (5, 12, 13)][int(rng.integers(2))]
    d, scale = max(d, 2), Q(int(rng.integers(1, 5)), 2)
    v = np.zeros(d)
    v[rng.permutation(d)[:2]] = np.array([a, b]) * rng.choice([-1, 1], 2) / 64.0
    c, r, off = dyadic(rng, d), Q(int(rng.integers(4, 24)), 64), Q(h, 64)
    t = scale * (r + off) ** 2

    def call(m, x):
        return m.last(m.move(x).square().sum(1, keepdim=True))

    module = From(call, move=layer(np.eye(d), list(-(c + v))), last=lead(-np.array([float(scale)]), t))
    return {"module": module, "centre": c, "radius": r, "least": lambda e: t - scale * (e + off) ** 2, "units": d, "norm": "l2"}


def product(rng, d):
    """The product of two positive features, picked as numbers, must stay below a threshold."""
    c = dyadic(rng, 2, low=8, high=24, bits=4)
    r, (a, b) = Q(int(rng.integers(4, 24)), 64), fractions(c)
    t = (a + r) * (b + r)

    def call(m, x):
        z = x[:, 0] * x[:, 1]
        return torch.stack((float(t) - z, 0.0 * z), 1)

    return {"module": From(call), "centre": c, "radius": r, "least": lambda e: t - (a + e) * (b + e), "units": 2}


FAMILIES = {
    f.__name__: f
    for f in (
        linear_clipped, linear_l2, water_filling, paired_bias, unimodular, largest, tents, monotone, probability, prototypes,
        quadratic, product,
    )
}  # fmt: skip
GROUPS = {"linear_clipped": "linear", "linear_l2": "linear", "water_filling": "corner", "monotone": "corner"}


def known(seed: int) -> Known:
    """The network of a seed, families in turn; every second round is float32."""
    rng = np.random.default_rng([seed, 31])
    name = list(FAMILIES)[seed % len(FAMILIES)]
    dtype = (torch.float64, torch.float32)[seed // len(FAMILIES) % 2]
    made = {"units": 0, "norm": "linf", "clip": None} | FAMILIES[name](rng, int(rng.integers(2, 6)))
    centre = torch.from_numpy(np.array(made.pop("centre"), dtype=np.float64))[None].to(dtype)
    return Known(seed, name, GROUPS.get(name, "other"), made.pop("module").to(dtype).eval(), centre, **made)
