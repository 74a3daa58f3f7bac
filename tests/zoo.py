"""Small networks that together use every operator; the contract tests run over them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsball.ops.network import Network


class Fn(nn.Module):
    """A network from a function and the modules it uses."""

    def __init__(self, fn: Callable[..., Tensor], **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.fn = fn
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self, x)


def _norm(features: int, *, two_d: bool = True) -> nn.Module:
    layer = nn.BatchNorm2d(features) if two_d else nn.BatchNorm1d(features)
    layer.running_mean.uniform_(-0.3, 0.3)
    layer.running_var.uniform_(0.5, 2.0)
    nn.init.uniform_(layer.weight, -1.0, 1.5)
    nn.init.uniform_(layer.bias, -0.3, 0.3)
    return layer


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), activation(), nn.Linear(7, 6), activation(), nn.Linear(6, 3))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), _norm(4), nn.ReLU(),
        nn.Conv2d(4, 4, (2, 3), padding=(1, 2), dilation=(1, 2), groups=2), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(6), _norm(6, two_d=False), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


def conv_uneven() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, stride=3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def conv_same() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 4, padding="same"), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))


def conv_1d() -> nn.Module:
    return nn.Sequential(nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def residual() -> nn.Module:
    def fn(m: Fn, x: Tensor) -> Tensor:
        h = torch.relu(m.stem(x))
        h = torch.relu(m.norm(m.conv(h)) + h)
        h = h - 0.5 * m.other(h)
        return m.head(F.adaptive_avg_pool2d(h, 1).flatten(1))

    return Fn(
        fn, stem=nn.Conv2d(2, 4, 3, padding=1), conv=nn.Conv2d(4, 4, 3, padding=1), norm=_norm(4),
        other=nn.Conv2d(4, 4, 1), head=nn.Linear(4, 3),
    )  # fmt: skip


def deep_conv() -> nn.Module:
    """Convolutions without an activation between them, and a residual block of two window sizes: what windows can get wrong."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        h = torch.relu(m.second(m.first(x)))
        h = torch.relu(m.norm(m.wide(h)) - m.narrow(h) * 0.5 + 0.1)
        return m.head(torch.relu(m.down(-h)).flatten(1))

    return Fn(
        fn, first=nn.Conv2d(1, 2, 3, padding=1), second=nn.Conv2d(2, 3, 3, padding=2), wide=nn.Conv2d(3, 3, 3, padding=1, stride=2),
        narrow=nn.Conv2d(3, 3, 1, stride=2), norm=_norm(3), down=nn.Conv2d(3, 2, 3, stride=2, padding=1), head=nn.LazyLinear(3),
    )  # fmt: skip


def pools() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(2, stride=1),
        nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


def max_pool_last() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(3))


def shapes() -> nn.Module:
    def fn(m: Fn, x: Tensor) -> Tensor:
        h = (x - m.mean) / 0.7
        h = F.pad(h, (1, 0, 0, 2), value=0.3)
        h = h.permute(0, 2, 3, 1).transpose(1, 2)
        left, right = h.split([3, h.shape[1] - 3], 1)
        h = torch.cat([torch.tanh(left), F.leaky_relu(right, 0.2)], 1)[:, 1:-1:2]
        h = h.sum(1, keepdim=True).expand(-1, 2, -1, -1) * 0.3 - h.mean((1,), keepdim=True)
        h = torch.stack([h.flatten(1), 2 - h.flatten(1)], 1).reshape(x.shape[0], -1)
        h = torch.sub(h, 1.0, alpha=2).unsqueeze(1).squeeze(1)
        return m.head(torch.sigmoid(-h))

    return Fn(fn, mean=torch.rand(1, 2, 1, 1), head=nn.LazyLinear(3))


def plain_matmul() -> nn.Module:
    return Fn(lambda m, x: torch.relu(x @ m.w) @ m.v + 0.1, w=torch.randn(5, 6), v=torch.randn(6, 3))


def normed_tokens() -> nn.Module:
    """A linear layer over positions before a batch norm: the one that must not be folded into it."""
    return nn.Sequential(nn.Linear(3, 4), _norm(3, two_d=False), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def affine_only() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))


def elementwise(name: str, fn: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    """Two layers with a function between them, on arguments in (1.3, 2.3) for those that are not defined everywhere."""
    bounded = name in {"exp", "log", "sqrt", "rsqrt", "reciprocal", "pow", "divided"}

    def run(m: Fn, x: Tensor) -> Tensor:
        h = m.first(x)
        return m.second(fn(torch.sigmoid(h) + 1.3 if bounded else h))

    return lambda: Fn(run, first=nn.Linear(5, 6), second=nn.Linear(6, 3))


ELEMENTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "elu": F.elu,
    "log_sigmoid": F.logsigmoid,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": lambda x: 1 / x,
    "pow": lambda x: x**3.0 + x**-1.5,
    "square": lambda x: x * x,
    "abs": torch.abs,
    "sign": torch.sign,
    "clamp": lambda x: F.hardtanh(x) + x.clamp(min=0.1) + F.relu6(x) + F.hardsigmoid(x),
    "hardswish": F.hardswish,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "atan": torch.atan,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3, -0.2, 1.4, 0.0, 1.0, 0.6], dtype=x.dtype)),
    "divided": lambda x: x / (x + 1) - torch.log1p(x),
}


def gated() -> nn.Module:
    """Products of what varies."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        h = F.glu(m.first(x)) * torch.tanh(m.second(x))
        h = torch.maximum(h, 0.1 * h - 0.2) + torch.where(m.mask, h, 0.3).amax(1, keepdim=True)
        return m.head(torch.addcmul(h, h, torch.relu(h)))

    return Fn(
        fn, first=nn.Linear(5, 8), second=nn.Linear(5, 4), head=nn.Linear(4, 3), mask=torch.tensor([True, False, True, False])
    )


def attention() -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.before, self.after = nn.LayerNorm(4), nn.RMSNorm(4, eps=1e-3)
            self.token = nn.Parameter(torch.randn(1, 1, 4))
            self.mlp = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
            y = self.before(h)
            h = h + self.attention(y, y, y)[0]
            y = self.after(h)
            h = h + self.mlp(y) + F.scaled_dot_product_attention(y, y, y, is_causal=True)
            return F.log_softmax(self.head(h.mean(1)), 1)

    return Block()


def products() -> nn.Module:
    def fn(m: Fn, x: Tensor) -> Tensor:
        h = torch.einsum("bij,bkj->bik", x, torch.relu(x)) * 0.3 + torch.bmm(x, m.fixed.transpose(1, 2) @ x)
        h = torch.einsum("bij,jk->bik", h, m.weight) + m.left @ h
        return m.head(torch.softmax(h, 1).flatten(1)) + m.pair(x[:, 0], x[:, 1])

    return Fn(
        fn, fixed=torch.randn(1, 3, 3), weight=torch.randn(3, 3), left=torch.randn(3, 3), head=nn.Linear(9, 3),
        pair=nn.Bilinear(3, 3, 3),
    )  # fmt: skip


def unet() -> nn.Module:
    """Two levels: strided down, transposed up, joined by cat; group and instance norm."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        top = F.silu(m.norm(m.first(x)))
        low = torch.relu(m.down(top))
        up = torch.cat([m.up(low), top, F.interpolate(low, scale_factor=2)], 1)
        up = up + F.interpolate(up[:, :, ::2, ::2], scale_factor=2, mode="bilinear", align_corners=False)
        return m.head(m.last(m.other(up)).flatten(1))

    return Fn(
        fn, first=nn.Conv2d(1, 4, 3, padding=1), norm=nn.GroupNorm(2, 4), down=nn.Conv2d(4, 3, 2, stride=2),
        up=nn.ConvTranspose2d(3, 2, 2, stride=2), other=nn.InstanceNorm2d(9, affine=True, eps=1e-2),
        last=nn.Conv2d(9, 1, 1), head=nn.LazyLinear(3),
    )  # fmt: skip


def pre_activation() -> nn.Module:
    """A skip connection before any activation: its forms are single where those of the branch beside it are pairs."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        h = m.stem(x)
        h = h + m.inner(torch.relu(h))
        return m.head(torch.relu(m.before(h) + m.shift))

    return Fn(
        fn,
        stem=nn.Linear(5, 8),
        inner=nn.Linear(8, 8),
        before=nn.Linear(8, 12),
        shift=torch.linspace(-1, 1, 12),
        head=nn.Linear(12, 3),
    )


def around_two() -> nn.Module:
    """A skip around two activations; the shift makes many neurons of the last layer stable, so that they leave the walk early."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        h = m.stem(x)
        h = torch.relu(m.second(torch.relu(m.first(h)))) + h
        return m.head(torch.relu(m.last(h) + m.shift))

    return Fn(
        fn, stem=nn.Linear(5, 6), first=nn.Linear(6, 6), second=nn.Linear(6, 6), last=nn.Linear(6, 6),
        shift=torch.tensor([2.0, 2.0, 1.0, 1.0, 0.5, 0.0]), head=nn.Linear(6, 3),
    )  # fmt: skip


def moved() -> nn.Module:
    """What only moves data, and constants among it."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        h = torch.relu(F.pad(x, (1, 1, 1, 0), mode="reflect"))
        h = h.flip(1).roll(2, 3)[:, :, m.index] + h.index_select(2, m.index)
        h = F.pixel_shuffle(h.repeat(1, 2, 1, 1), 2)
        a, b = h.chunk(2, 2)
        c, d = (a - b).unbind(1)[0].split([2, h.shape[3] - 2], 2)
        h = torch.cat([c.flatten(1), m.row.expand(x.shape[0], -1), d.flatten(1)], 1)
        h = torch.stack([h, torch.zeros_like(h), 2 * h], 2)
        return m.head(h.flatten(1))

    return Fn(fn, index=torch.tensor([2, 0, 1]), row=torch.rand(1, 3), head=nn.LazyLinear(3))


def more_pools() -> nn.Module:
    def fn(m: Fn, x: Tensor) -> Tensor:
        h = F.max_pool3d(m.solid(x), 2, stride=1, padding=1) + 0
        h = F.adaptive_avg_pool3d(F.avg_pool3d(h, 2, stride=1), (2, 3, 3))
        h = F.adaptive_max_pool2d(h.flatten(1, 2), (2, 2)).flatten(2)
        h = m.line(h)
        h = torch.cat([F.max_pool1d(h, 3, 2, 1), F.avg_pool1d(h, 2), F.adaptive_avg_pool1d(h, 2)], 2)
        return m.head(h.flatten(1))

    return Fn(fn, solid=nn.Conv3d(1, 2, 2), line=nn.ConvTranspose1d(4, 3, 2, padding=1, stride=2), head=nn.LazyLinear(3))


def recurrent() -> nn.Module:
    """An LSTM in both directions, a GRU over its steps, a cell on the last states."""

    def fn(m: Fn, x: Tensor) -> Tensor:
        steps, (last, _) = m.lstm(x)
        _, end = m.gru(steps)
        h, c = m.cell(end[-1])
        return m.head(torch.cat([h + last[1], c], 1))

    return Fn(
        fn, lstm=nn.LSTM(2, 2, batch_first=True, bidirectional=True), gru=nn.GRU(4, 2, batch_first=True), cell=nn.LSTMCell(2, 2),
        head=nn.Linear(4, 3),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (5,)),
    "leaky": (lambda: mlp(lambda: nn.LeakyReLU(0.1)), (5,)),
    "sigmoid": (lambda: mlp(nn.Sigmoid), (5,)),
    "tanh": (lambda: mlp(nn.Tanh), (5,)),
    "conv": (conv, (2, 5, 6)),
    "conv_uneven": (conv_uneven, (2, 8, 7)),
    "conv_same": (conv_same, (2, 4, 4)),
    "conv_1d": (conv_1d, (3, 6)),
    "residual": (residual, (2, 4, 4)),
    "deep_conv": (deep_conv, (1, 11, 12)),
    "pools": (pools, (2, 6, 7)),
    "max_pool_last": (max_pool_last, (2, 5, 5)),
    "shapes": (shapes, (2, 4, 4)),
    "plain_matmul": (plain_matmul, (5,)),
    "normed_tokens": (normed_tokens, (3, 3)),
    "affine_only": (affine_only, (5,)),
    "pre_activation": (pre_activation, (5,)),
    "around_two": (around_two, (5,)),
    **{name: (elementwise(name, fn), (5,)) for name, fn in ELEMENTWISE.items()},
    "gated": (gated, (5,)),
    "attention": (attention, (3, 4)),
    "products": (products, (3, 3)),
    "unet": (unet, (1, 4, 4)),
    "moved": (moved, (2, 3, 4)),
    "more_pools": (more_pools, (1, 4, 4, 4)),
    "recurrent": (recurrent, (2, 2)),
}
SLOW = {"attention", "unet", "recurrent", "more_pools", "products"}  # many operators: the main methods are enough
# The slope of a smooth operator's line is chosen without gradient: the bound stays sound, its slope is a choice.
CHOSEN = {"sigmoid", "tanh", "shapes", "conv_same", *ELEMENTWISE, "gated", "attention", "products", "unet", "recurrent"}


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with seeded weights, in evaluation mode, and its input shape."""
    torch.manual_seed(seed)
    factory, shape = NETWORKS[name]
    module = factory()
    module.eval()
    module(torch.rand(2, *shape))  # lazy layers
    module.zoo = name  # its graph is that of every other one of this name
    return module.to(dtype), shape


@functools.cache
def network(name: str) -> Network:
    """A captured network in double precision, once for all tests of a process."""
    return Network.capture(*build(name, seed=1, dtype=torch.float64))


class Captured(dict):
    """The networks by name, each captured when it is first asked for."""

    def __missing__(self, name: str):
        self[name] = network(name)
        return self[name]
