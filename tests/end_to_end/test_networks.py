"""Networks as people build them: captured, bounded, and the bounds hold for sampled and attacked inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsball.bounding.base import bounders
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall


class Transformer(nn.Module):
    """A vision transformer of one block on patches of 4 x 4, with GELU and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 12, 4, stride=4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 5, 12))
        self.block = nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, activation="gelu", norm_first=True, dropout=0.1)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.place
        return self.head(self.norm(self.block(h))[:, 0])


class UNet(nn.Module):
    """Two levels with a bottleneck: strided convolutions down, transposed ones up, joined by cat."""

    def __init__(self) -> None:
        super().__init__()

        def double(before: int, after: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1),
                nn.ReLU(),
            )

        self.first, self.second, self.bottom = double(1, 4), double(4, 6), double(6, 8)
        self.up_2, self.up_1 = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.join_2, self.join_1, self.last = double(12, 6), double(8, 4), nn.Conv2d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.first(x)
        two = self.second(F.max_pool2d(one, 2))
        h = self.up_2(self.bottom(F.max_pool2d(two, 2)))
        h = self.join_2(torch.cat([h, two], 1))
        h = self.join_1(torch.cat([self.up_1(h), one], 1))
        return self.last(h).flatten(1)


class Steps(nn.Module):
    """An LSTM over eight rows of an image, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def _least(network: Network, ball: LpBall, y: torch.Tensor, steps: int = 6) -> torch.Tensor:
    """The least margins found among samples and by gradient steps on each margin."""
    generator = torch.Generator().manual_seed(4)
    prop = robust(y, network.classes, ball.x.dtype)
    points = [ball.sample(generator) for _ in range(30)]
    for row in range(0, network.classes - 1, max(1, network.classes // 5)):
        x = ball.sample(generator)
        for _ in range(steps):
            x = x.detach().requires_grad_()
            prop.margins(network.module(x))[row].sum().backward()
            x = ball.project(x.detach() - ball.eps * x.grad.sign())
        points.append(x.detach())
    with torch.no_grad():
        return torch.stack([prop.margins(network.module(x)) for x in points]).amin(0)


def _check(module: nn.Module, x: torch.Tensor, eps: float, methods: tuple[str, ...]) -> dict[str, torch.Tensor]:
    network = Network.capture(module.eval(), x.shape[1:])
    with torch.no_grad():
        y = module(x).argmax(1)
    ball = LpBall(x, eps)
    least = _least(network, ball, y)
    rows = robust(y, network.classes, x.dtype).rows()
    with torch.no_grad():
        bounds = {m: bounders[m]()(network.prepare(), ball, rows) for m in methods}
    for name, bound in bounds.items():
        assert bool(torch.isfinite(bound).all()), name
        assert bool((bound <= least + 1e-4 * (1 + least.abs())).all()), name
    return bounds


NETWORKS = {"transformer": (Transformer, (1, 8, 8)), "unet": (UNet, (1, 8, 8)), "lstm": (Steps, (8, 8))}


@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_hold_and_linear_ones_are_tighter(name):
    torch.manual_seed(0)
    kind, shape = NETWORKS[name]
    bounds = _check(kind(), torch.rand(2, *shape), 0.002, ("ibp", "crown-ibp", "crown"))
    assert bounds["crown-ibp"].mean() > bounds["ibp"].mean()
    assert bounds["crown"].mean() > bounds["crown-ibp"].mean()
    if name != "unet":
        assert bool((bounds["crown"] > 0).any())  # and something is proven
