"""Networks that fool floating point: real arithmetic says robust, and the module in its own precision is broken.

After Zombori et al. 2021, Fooling a complete verifier (a sum swallows the term that keeps a backdoor shut), and Jia and Rinard
2021, Exploiting verified neural networks via floating point numerical error (a margin that is rounding and nothing else).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tests.red.cases import Case
from tests.red.families import From
from tests.red.regions import Region
from torch import Tensor, nn

Fool = Callable[[np.random.Generator, int, float], nn.Module]


def layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
    return made


def _direction(rng: np.random.Generator, d: int) -> Tensor:
    return torch.from_numpy(rng.integers(1, 8, d) / 8.0 * rng.choice([-1, 1], d))


def _answer(weights: list[float], gain: float, lead: float) -> nn.Linear:
    """Two outputs whose difference is lead - gain * (weights . h)."""
    row = torch.tensor(weights, dtype=torch.float64) * gain
    return layer(torch.stack((-row, 0 * row)), torch.tensor([lead, 0.0], dtype=torch.float64))


def cancel(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """z + B - (z + 8) - (B - 8) is 0, and in floats what B + z lost, after one ReLU."""
    v = _direction(rng, d)
    first = layer(torch.stack((v, v)), torch.tensor([big, 8.0], dtype=torch.float64))
    shift = layer(torch.eye(2, dtype=torch.float64), torch.tensor([-big, -8.0], dtype=torch.float64))
    sign = float(rng.choice([-1, 1]))
    return nn.Sequential(first, nn.ReLU(), shift, _answer([sign, -sign], 4.0, 0.7))


def gap(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """relu(z + 8.3 + B) - relu(z + 8 + B) is 0.3, and 0 in floats."""
    v = _direction(rng, d)
    base = layer(torch.stack((v, v)), torch.tensor([8.0, 8.3], dtype=torch.float64))
    lift = layer(torch.eye(2, dtype=torch.float64), torch.tensor([big, big], dtype=torch.float64))
    return nn.Sequential(base, nn.ReLU(), lift, nn.ReLU(), _answer([1.0, -1.0], 1.0, -0.15))


def backdoor(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """A pattern detector that relu(a + 4B) - 4B = a keeps shut, where a = 1/4 is swallowed."""
    v = _direction(rng, d)
    keep = torch.zeros(1, d, dtype=torch.float64)
    first = layer(torch.cat((v[None], keep)), torch.tensor([8.0, 0.25], dtype=torch.float64))
    lift = layer(torch.eye(2, dtype=torch.float64), torch.tensor([0.0, 4 * big], dtype=torch.float64))
    back = layer(torch.eye(2, dtype=torch.float64), torch.tensor([-8.0, -4 * big], dtype=torch.float64))
    shut = layer(torch.tensor([[1.0, -400.0]], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))
    return nn.Sequential(first, nn.ReLU(), lift, nn.ReLU(), back, shut, nn.ReLU(), _answer([4.0], 1.0, 0.7))


def folded(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """Batch norm takes off a mean of B that the layer before put on."""
    v = _direction(rng, d)
    first = layer(torch.stack((v, v)), torch.tensor([big, 0.0], dtype=torch.float64))
    norm = nn.BatchNorm1d(2, eps=0.0, affine=False).double()
    norm.running_mean.copy_(torch.tensor([big, 0.0]))
    return nn.Sequential(first, norm.eval(), _answer([4.0, -4.0], 1.0, 0.7))


def skip(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """A residual join of numbers of very different size."""
    v = _direction(rng, d)

    def call(m: nn.Module, x: Tensor) -> Tensor:
        z = m.first(x)
        h = torch.relu(m.lift(z)) + z
        return m.last(h - m.lift(z) - z)

    eye = torch.eye(1, dtype=torch.float64)
    lift = layer(eye * 3, torch.tensor([big], dtype=torch.float64))
    return From(
        call,
        first=layer(v[None], torch.zeros(1, dtype=torch.float64)),
        lift=lift,
        last=_answer([float(rng.choice([-6, 6]))], 1.0, 0.7),
    )


def wave(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """The sine of z + B and of z, B as near a whole number of turns as it comes."""
    v = _direction(rng, d)
    turns = float(torch.tensor(round(big / 64 / 6.283185307179586) * 6.283185307179586, dtype=torch.float64))

    def call(m: nn.Module, x: Tensor) -> Tensor:
        z = m.first(x)
        return m.last(torch.cat((torch.sin(z + turns), torch.sin(z)), 1))

    return From(
        call,
        first=layer(v[None], torch.zeros(1, dtype=torch.float64)),
        last=_answer([40.0, -40.0], float(rng.choice([-1, 1])), 0.3),
    )


def long_sum(rng: np.random.Generator, d: int, big: float) -> nn.Module:
    """Many large terms that cancel in pairs inside one row of a layer."""
    v = _direction(rng, d)
    n = 16
    first = layer(v.expand(n, d).clone(), torch.full((n,), 8.0, dtype=torch.float64))
    grain = torch.from_numpy(rng.permutation(n // 2) + 1.0).double() * big / 16 + 1 / 3
    row = torch.cat((grain, -grain))[torch.from_numpy(rng.permutation(n))]
    heads = torch.stack((-row * float(rng.choice([-1, 1])), 0 * row))
    return nn.Sequential(first, nn.ReLU(), layer(heads, torch.tensor([0.3, 0.0], dtype=torch.float64)))


FOOLS: dict[str, Fool] = {f.__name__: f for f in (cancel, gap, backdoor, folded, skip, wave, long_sum)}


def fooling(seed: int) -> Case:
    """A network of the family and precision of a seed; half of the seeds are float32."""
    rng = np.random.default_rng([seed, 21])
    dtype = (torch.float32, torch.float64)[seed % 2]
    name = list(FOOLS)[seed // 2 % len(FOOLS)]
    d = int(rng.integers(2, 7))
    big = 2.0 ** int(rng.integers(23, 25) if dtype == torch.float32 else rng.integers(52, 54))
    module = FOOLS[name](rng, d, big).to(dtype).eval()
    centre = torch.from_numpy(rng.integers(-8, 9, (1, d)) / 16.0).to(dtype)
    region = Region("linf", centre, float(rng.integers(1, 9)) / 32)
    return Case(seed, f"fool_{name}", (), module, region, torch.zeros(1, dtype=torch.int64))
