"""Random small networks for the fuzzer: chains of random blocks over vectors, feature maps and tokens, and the zoo of the tests."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from tests import zoo
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 3
Shape = tuple[int, ...]


def _activation(draw: random.Random) -> nn.Module:
    name = draw.choice(["relu", "relu", "relu", "leaky", "tanh", "sigmoid", *zoo.ELEMENTWISE])
    plain = {"relu": torch.relu, "leaky": lambda x: F.leaky_relu(x, 0.2), "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    if name in plain:
        return zoo.Fn(lambda _, x: plain[name](x))
    fn = zoo.ELEMENTWISE[name]
    if name == "prelu":
        return nn.PReLU()
    guarded = name in {"exp", "log", "sqrt", "rsqrt", "reciprocal", "pow", "divided"}
    return zoo.Fn(lambda _, x: fn(torch.sigmoid(x) + 1.3) if guarded else fn(x))


def _vector(draw: random.Random, shape: Shape) -> nn.Module:
    (n,) = shape
    m = draw.randint(2, 7)
    return draw.choice(
        [
            lambda: nn.Linear(n, m),
            lambda: nn.Linear(n, m, bias=False),
            lambda: nn.BatchNorm1d(n),
            lambda: nn.LayerNorm(n, eps=0.05),
            lambda: nn.Softmax(1),
            lambda: zoo.Fn(lambda f, x: x + torch.relu(f.inner(x)), inner=nn.Linear(n, n)),
            lambda: zoo.Fn(lambda f, x: x * torch.sigmoid(f.inner(x)), inner=nn.Linear(n, n)),
            lambda: zoo.Fn(lambda f, x: torch.maximum(f.a(x), f.b(x)), a=nn.Linear(n, m), b=nn.Linear(n, m)),
            lambda: zoo.Fn(lambda _, x: torch.cat([x, 0.5 * x.flip(1) - 0.1], 1)),
            lambda: zoo.Fn(lambda _, x: x - x.mean(1, keepdim=True)),
        ]
    )()


def _map(draw: random.Random, shape: Shape) -> nn.Module:
    c, h, w = shape
    k, out = min(draw.choice([1, 2, 3]), h, w), draw.randint(1, 3)
    groups = c if draw.random() < 0.2 else 1
    options: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(c, out * groups, k, draw.choice([1, 2]), draw.choice([0, 1]) if k > 1 else 0, groups=groups),
        lambda: nn.Conv2d(c, out, 3, padding=2, dilation=draw.choice([1, 2]), bias=False),
        lambda: nn.BatchNorm2d(c),
        lambda: zoo.Fn(lambda f, x: torch.relu(f.inner(x)) + x, inner=nn.Conv2d(c, c, 3, padding=1)),
        lambda: zoo.Fn(lambda f, x: f.a(x) - 0.5 * f.b(x), a=nn.Conv2d(c, out, 3, padding=1), b=nn.Conv2d(c, out, 1)),
        lambda: nn.GroupNorm(1, c, eps=0.05),
        lambda: zoo.Fn(lambda _, x: F.pad(x, (1, 0, 0, 1), value=0.2)),
        lambda: zoo.Fn(lambda _, x: x.transpose(2, 3)),
    ]
    if min(h, w) >= 2:
        options += [
            lambda: nn.MaxPool2d(2, 1),
            lambda: nn.AvgPool2d(2, 1),
            lambda: nn.MaxPool2d(2, 2, 1),
            lambda: nn.AdaptiveAvgPool2d(2),
        ]
    if max(h, w) <= 4:
        options += [lambda: nn.ConvTranspose2d(c, out, 2, stride=2), lambda: nn.Upsample(scale_factor=2)]
    return draw.choice(options)()


def _tokens(draw: random.Random, shape: Shape) -> nn.Module:
    t, d = shape
    m = draw.randint(2, 4)
    return draw.choice(
        [
            lambda: nn.Linear(d, m),
            lambda: nn.LayerNorm(d, eps=0.05),
            lambda: nn.Softmax(2),
            lambda: zoo.Fn(lambda f, x: x + f.v(x) * 0.5, v=nn.Linear(d, d)),
            lambda: zoo.Fn(
                lambda f, x: torch.softmax(f.q(x) @ f.k(x).transpose(1, 2), 2) @ x, q=nn.Linear(d, m), k=nn.Linear(d, m)
            ),
            lambda: nn.Conv1d(t, m, 2, padding=1),
            lambda: zoo.Fn(lambda _, x: x.transpose(1, 2)),
            lambda: zoo.Fn(lambda _, x: torch.cat([x, x.mean(1, keepdim=True)], 1)),
        ]
    )()


_KINDS: dict[int, Callable[[random.Random, Shape], nn.Module]] = {1: _vector, 3: _map, 2: _tokens}


def chain(draw: random.Random) -> tuple[nn.Module, Shape]:
    """Two to six random blocks with random activations between them, and a linear head."""
    kind = draw.choice([1, 2, 3])
    shape: Shape = {
        1: (draw.randint(2, 6),),
        2: (draw.randint(2, 3), draw.randint(2, 4)),
        3: (draw.randint(1, 2), draw.randint(3, 6), 5),
    }[kind]
    first, value, layers = shape, torch.rand(2, *shape), list[nn.Module]()
    for _ in range(draw.randint(2, 4)):
        block = _KINDS[value.dim() - 1](draw, tuple(value.shape[1:])).eval()
        layers += [block, _activation(draw)] if draw.random() < 0.7 else [block]
        value = nn.Sequential(*layers[-2:] if layers[-1] is not block else [block]).eval()(value)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(value[0].numel(), CLASSES)).eval(), first


def structure(draw: random.Random) -> tuple[str, nn.Module, Shape]:
    """A random network: a name for the tally, the module in double precision, and its input shape."""
    torch.manual_seed(draw.getrandbits(32))
    if draw.random() < 0.25:
        name = draw.choice(sorted(set(zoo.NETWORKS) - {"recurrent", "attention"} if draw.random() < 0.9 else zoo.NETWORKS))
        module, shape = zoo.build(name, draw.getrandbits(31), torch.float64)
        return f"zoo {name}", module, shape
    module, shape = chain(draw)
    return "chain", module.double(), shape


def weights(params: dict[str, Tensor], draw: random.Random) -> dict[str, Tensor]:
    """Other values of the same parameters: scaled and moved; variances stay positive."""
    generator = torch.Generator().manual_seed(draw.getrandbits(32))
    spread = draw.choice([0.3, 1.0, 2.0])
    moved = {}
    for key, value in params.items():
        if not value.is_floating_point():
            moved[key] = value
            continue
        size = value.std() if value.numel() > 1 else value.abs().mean()
        noise = torch.randn(value.shape, generator=generator, dtype=value.dtype) * (size + 0.05)
        moved[key] = value.abs() + 0.1 + noise.abs() if key.endswith("running_var") else spread * (value + 0.5 * noise)
    return moved
