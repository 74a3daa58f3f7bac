"""Architectures as users write them, in plain torch: each family draws its sizes and weights from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

Family = Callable[[np.random.Generator, tuple[int, ...]], nn.Module]


class From(nn.Module):
    """A forward function over submodules that are given by name."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.call = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def width(rng: np.random.Generator) -> int:
    return int(rng.integers(2, 8))


def act(rng: np.random.Generator) -> nn.Module:
    kinds = [nn.ReLU, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Softplus, nn.ELU]
    return kinds[int(rng.integers(len(kinds)))]()


def residual(rng, shape):
    n, h = size(shape), width(rng)

    def call(m, x):
        z = m.first(x.flatten(1))
        z = z + m.two(m.act(m.one(z)))
        z = m.act2(z) - m.deep(z)
        return m.last(z)

    deep = nn.Sequential(nn.Linear(h, h), act(rng), nn.Linear(h, h), act(rng))
    parts = {"one": nn.Linear(h, h), "act": act(rng), "two": nn.Linear(h, h), "act2": act(rng)}
    return From(call, first=nn.Linear(n, h), deep=deep, last=nn.Linear(h, 3), **parts)


def branches(rng, shape):
    """The difference, product, larger or smaller of two curves over one linear map."""
    n, h, kind = size(shape), width(rng), int(rng.integers(5))
    joins = [torch.sub, torch.mul, torch.maximum, torch.minimum, lambda a, b: a / (1.5 + b.tanh())]

    def call(m, x):
        z = m.first(x.flatten(1))
        return m.last(joins[kind](m.f(z), m.g(z)))

    return From(call, first=nn.Linear(n, h), f=act(rng), g=act(rng), last=nn.Linear(h, 2))


def raw_branches(rng, shape):
    """As above without a head: what one join answers is the answer."""
    n, kind, signs = size(shape), int(rng.integers(4)), rng.choice([-1.0, 1.0], 2)
    joins = [torch.sub, torch.mul, torch.maximum, torch.minimum]

    def call(m, x):
        z = m.first(x.flatten(1))
        return torch.stack((joins[kind](m.f(z), signs[0] * m.g(z)).sum(1), 0.1 * signs[1] * z.sum(1)), 1)

    return From(call, first=nn.Linear(n, 1 + int(rng.integers(2))), f=act(rng), g=act(rng))


def pendulum(rng, shape):
    """Scalars of a state, a law of motion over them, stacked again."""
    n, shift = size(shape), rng.normal(0, 0.5, 3)
    curve = [torch.sin, torch.relu, torch.tanh, torch.square, torch.cos, torch.abs][int(rng.integers(6))]

    def call(m, x):
        x = x.flatten(1)
        a, b = x[:, 0], x[:, -1]
        force = m.law(x).squeeze(1)
        return torch.stack((a + 0.3 * b + shift[0], b - curve(a) + 0.2 * force, curve(x.sum(1)) + shift[1]), 1)

    return From(call, law=nn.Sequential(nn.Linear(n, 4), act(rng), nn.Linear(4, 1)))


def plain_scalar(rng, shape):
    """One curve over one feature or one reduction, beside another feature as it is."""
    reduce = [lambda x: x[:, 0], lambda x: x.sum(1), lambda x: x.mean(1), lambda x: x.amax(1), lambda x: x[:, -1]]
    picked, curve = reduce[int(rng.integers(5))], act(rng)

    def call(m, x):
        x = x.flatten(1)
        return torch.stack((m.curve(picked(x)), x[:, -1]), 1)

    return From(call, curve=curve)


def lstm(rng, shape):
    n, h = size(shape), 2 + int(rng.integers(2))

    def call(m, x):
        x = x.flatten(1)
        state = torch.zeros(x.shape[0], h, dtype=x.dtype), torch.zeros(x.shape[0], h, dtype=x.dtype)
        for _ in range(2):
            state = m.cell(x, state)
        return m.last(state[0])

    return From(call, cell=nn.LSTMCell(n, h), last=nn.Linear(h, 2))


def own_lstm(rng, shape):
    """An LSTM written out: gates by chunk, shared weights over two steps."""
    n, h = size(shape), 2

    def call(m, x):
        x = x.flatten(1)
        c = h0 = torch.tanh(m.start(x))
        for _ in range(2):
            i, f, g, o = m.gates(torch.cat((x, h0), 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h0 = o.sigmoid() * c.tanh()
        return m.last(h0)

    return From(call, start=nn.Linear(n, h), gates=nn.Linear(n + h, 4 * h), last=nn.Linear(h, 2))


def gru(rng, shape):
    n, h = size(shape), 2 + int(rng.integers(2))

    def call(m, x):
        x = x.flatten(1)
        return m.last(m.cell(x, m.cell(x, x.new_zeros(x.shape[0], h))))

    return From(call, cell=nn.GRUCell(n, h), last=nn.Linear(h, 3))


def attention(rng, shape):
    """Two or three tokens, one head, with or without a mask that is added or filled in."""
    n, d, tokens, style = size(shape), 2, 2 + int(rng.integers(2)), int(rng.integers(3))
    mask = torch.tril(torch.ones(tokens, tokens, dtype=torch.bool))

    def call(m, x):
        h = m.embed(x.flatten(1)).view(x.shape[0], tokens, d)
        q, k, v = m.q(h), m.k(h), m.v(h)
        score = q @ k.transpose(1, 2) / d**0.5
        if style == 1:
            score = score.masked_fill(~mask, -1e9)
        if style == 2:
            score = score + torch.zeros(tokens, tokens, dtype=x.dtype).masked_fill(~mask, float("-inf"))
        return m.last((h + score.softmax(-1) @ v).flatten(1))

    parts = {name: nn.Linear(d, d, bias=False) for name in "qkv"}
    return From(call, embed=nn.Linear(n, tokens * d), last=nn.Linear(tokens * d, 2), **parts)


def conv_pool(rng, shape):
    """Convolution, batch norm, pooling, dropout; left in training mode half of the time."""
    c = 1 + int(rng.integers(2))
    pool = [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Identity()][int(rng.integers(4))]
    net = nn.Sequential(
        nn.Unflatten(1, (-1, 1)), nn.Flatten(1), nn.Linear(size(shape), 16), nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, c, 3, padding=1), nn.BatchNorm2d(c), act(rng), pool, nn.Dropout(0.4), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip
    net.eval()(torch.zeros(1, size(shape)))
    with torch.no_grad():
        net[5].running_mean.normal_(0, 0.5)
        net[5].running_var.uniform_(0.3, 2.0)
        net[5].weight.normal_(0, 1)
    return From(lambda m, x: m.net(x.flatten(1)), net=net).train(bool(rng.integers(2)))


def norms(rng, shape):
    """Linear layers under parametrizations, then batch norm over features in training mode."""
    n, h = size(shape), width(rng)
    wrap = [weight_norm, spectral_norm, orthogonal][int(rng.integers(3))]
    body = nn.Sequential(wrap(nn.Linear(n, h)), nn.BatchNorm1d(h), act(rng), weight_norm(nn.Linear(h, 3)))
    body.train(bool(rng.integers(2)))
    return From(lambda m, x: m.body(x.flatten(1)), body=body)


def shared(rng, shape):
    """One layer used three times, and its weight once more, transposed."""
    n, h = size(shape), width(rng)

    def call(m, x):
        z = m.first(x.flatten(1))
        for _ in range(2):
            z = m.act(m.loop(z)) - 0.5 * z
        return m.last(z @ m.loop.weight.t() + z)

    return From(call, first=nn.Linear(n, h), loop=nn.Linear(h, h), act=act(rng), last=nn.Linear(h, 2))


def inplace(rng, shape):
    """Activations and sums that write into what other branches read."""
    n, h, style = size(shape), width(rng), int(rng.integers(4))

    def call(m, x):
        z = m.first(x.flatten(1))
        if style == 0:
            kept = z.clone()
            z.relu_()
            return m.last(z + kept)
        if style == 1:
            y = m.relu(z)  # z is y now
            return m.last(z + y)
        if style == 2:
            z[:, 0] = z[:, 1] * 0.5
            z[:, 1] += 1.0
            return m.last(z.tanh())
        half = z.view(x.shape[0], -1)[:, : h // 2 + 1]
        half.mul_(-1.0).relu_()
        return m.last(z)

    return From(call, first=nn.Linear(n, h), relu=nn.ReLU(inplace=True), last=nn.Linear(h, 2))


def writes_input(rng, shape):
    """A module that writes into its own input."""
    kind = int(rng.integers(2))

    def call(m, x):
        if kind:
            x.mul_(2.0).sub_(0.5)
        else:
            x.relu_()
        return m.last(x.flatten(1))

    return From(call, last=nn.Sequential(nn.Linear(size(shape), 4), act(rng), nn.Linear(4, 2)))


def casts(rng, shape):
    """A narrower type somewhere inside."""
    n, h = size(shape), width(rng)
    through = [torch.float32, torch.float16, torch.bfloat16][int(rng.integers(3))]
    gain = 10.0 ** rng.integers(0, 7)

    def call(m, x):
        z = gain * m.first(x.flatten(1))
        z = z.to(through).to(x.dtype)
        return m.last(F.relu(z)) / gain

    return From(call, first=nn.Linear(n, h), last=nn.Linear(h, 2))


def huge(rng, shape):
    """Hidden values up to 2^24 (2^50 in float64) that a later layer cancels."""
    n, h = size(shape), width(rng)
    big = 2.0 ** rng.integers(16, 25)

    def call(m, x):
        size_now = big * (2.0**26 if x.dtype == torch.float64 else 1.0)
        z = m.first(x.flatten(1))
        z = m.act(z + size_now)
        return m.last(z - size_now)

    return From(call, first=nn.Linear(n, h), act=nn.ReLU(), last=nn.Linear(h, 2))


def one_output(rng, shape):
    return From(lambda m, x: m.net(x.flatten(1)), net=nn.Sequential(nn.Linear(size(shape), 5), act(rng), nn.Linear(5, 1)))


def gates(rng, shape):
    """Products of sigmoids and curves, highway style, and the product of both halves."""
    n, h = size(shape), 2 * (1 + int(rng.integers(2)))

    def call(m, x):
        z = m.first(x.flatten(1))
        t = m.t(z).sigmoid()
        z = t * m.f(z).relu() + (1 - t) * z
        return m.last(F.glu(z, 1) if z.shape[1] % 2 == 0 else z)

    return From(call, first=nn.Linear(n, h), t=nn.Linear(h, h), f=nn.Linear(h, h), last=nn.Linear(h // 2, 2))


def deep_mlp(rng, shape):
    n, h = size(shape), width(rng)
    scales = rng.choice([1.0, 1.0, 1e4, 1e-4])
    first = nn.Linear(n, h)
    with torch.no_grad():
        first.weight.mul_(float(scales))
        first.weight[0].mul_(10.0 ** int(rng.integers(0, 9)))  # units of very different size
    body = nn.Sequential(first, nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 2 + int(rng.integers(3))))
    return From(lambda m, x: m.body(x.flatten(1)), body=body)


def ratios(rng, shape):
    """Divisions, whose divisor comes near 0 or holds it."""
    n, gap = size(shape), float(rng.choice([0.0, 0.05, 0.5, 2.0]))

    def call(m, x):
        z = m.first(x.flatten(1))
        return m.last(z.relu() / (z.flip(1).abs() + gap))

    return From(call, first=nn.Linear(n, 3), last=nn.Linear(3, 2))


def saturated(rng, shape):
    """Softmax at the end, over large logits."""
    n, gain = size(shape), float(rng.choice([1.0, 10.0, 100.0]))
    net = nn.Sequential(nn.Linear(n, 4), act(rng), nn.Linear(4, 3))
    return From(lambda m, x: (gain * m.net(x.flatten(1))).softmax(1), net=net)


FAMILIES: dict[str, Family] = {
    f.__name__: f
    for f in (
        residual, branches, raw_branches, pendulum, plain_scalar, lstm, own_lstm, gru, attention, conv_pool, norms, shared,
        inplace, writes_input, casts, huge, one_output, gates, deep_mlp, ratios, saturated,
    )
}  # fmt: skip
