"""Small networks that together use every operator; the contract tests run over them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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
}


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, tuple[int, ...]]:
    """A network with seeded weights, in evaluation mode, and its input shape."""
    torch.manual_seed(seed)
    factory, shape = NETWORKS[name]
    module = factory()
    module.eval()
    module(torch.rand(2, *shape))  # lazy layers
    return module.to(dtype), shape
