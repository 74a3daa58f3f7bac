"""The networks of the thesis and its sources: sizes as published or counted by hand, and that they can be bounded and trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.models.base import build
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress
from epsball.training.recipes.fast_ibp import FastIbp

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def conv(before: int, after: int, kernel: int, groups: int = 1) -> int:
    return after * before // groups * kernel**2 + after + 2 * after  # with bias and batch norm


def linear(before: int, after: int) -> int:
    return before * after + after


def wide_resnet(channels: int, side: int) -> int:
    blocks = ((16, 128), (128, 256), (256, 512))
    count = conv(channels, 16, 3) + sum(conv(a, b, 3) + conv(b, b, 3) + conv(a, b, 1) for a, b in blocks)
    return count + linear(512 * side**2, 512) + 2 * 512 + linear(512, 10)


def resnext(channels: int, side: int) -> int:
    blocks = ((64, 64), (128, 128), (256, 256))
    count = conv(channels, 64, 3)
    count += sum(conv(a, n, 1) + conv(n, n, 3, 2) + conv(n, 2 * n, 1) + conv(a, 2 * n, 1) for a, n in blocks)
    return count + linear(512 * side**2, 512) + 2 * 512 + linear(512, 10)


def valid(layers: list[tuple[int, int, int]], hidden: list[tuple[int, int]]) -> int:
    return sum(b * a * k**2 + b for a, b, k in layers) + sum(linear(a, b) for a, b in hidden)


PUBLISHED = [("cnn-7", MNIST, 13.26), ("cnn-7", CIFAR, 17.19), ("dm-large", MNIST, 13.26), ("dm-large", CIFAR, 17.19)]  # millions
COUNTED = [
    ("dm-small", MNIST, valid([(1, 16, 4), (16, 32, 4)], [(32 * 10 * 10, 100), (100, 10)])),
    (
        "dm-medium",
        MNIST,
        valid([(1, 32, 3), (32, 32, 4), (32, 64, 3), (64, 64, 4)], [(64 * 4 * 4, 512), (512, 512), (512, 10)]),
    ),
    ("cnn-3", MNIST, conv(1, 64, 5) + conv(64, 128, 4) + linear(128 * 7 * 7, 10)),
    ("wide-resnet", MNIST, wide_resnet(1, 7)),
    ("wide-resnet", CIFAR, wide_resnet(3, 8)),
    ("resnext", MNIST, resnext(1, 7)),
    ("resnext", CIFAR, resnext(3, 8)),
]


def count(name: str, shape: tuple[int, ...]) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(name, shape, 10).parameters())


@pytest.mark.parametrize(("name", "shape", "millions"), PUBLISHED)
def test_published_sizes(name: str, shape: tuple[int, ...], millions: float) -> None:
    assert count(name, shape) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("name", "shape", "parameters"), COUNTED)
def test_sizes_counted_by_hand(name: str, shape: tuple[int, ...], parameters: int) -> None:
    assert count(name, shape) == parameters


def test_cnn_9_has_two_more_convolutions() -> None:
    assert count("cnn-9", MNIST) - count("cnn-7", MNIST) == 2 * conv(128, 128, 3)


@pytest.mark.parametrize(("name", "options"), [("wide-resnet", {"widen": 1, "width": 4}), ("resnext", {"width": 4})])
@pytest.mark.slow
def test_residual_networks_train_with_their_initialisation(name: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    net = Network.capture(build(name, (1, 10, 9), 3, **options), (1, 10, 9))
    recipe = FastIbp(0.1, warmup=0, ramp=1)
    recipe.initialise(net)
    after_sum = [m for m in net.module.modules() if isinstance(m, nn.Conv2d)][-1]  # the last block's shortcut reads a ReLU of a sum
    fan_in = after_sum.weight[0].numel()
    assert after_sum.weight.std().item() == pytest.approx(0.5 * (2 * torch.pi) ** 0.5 / fan_in, rel=0.2)
    loss = recipe.loss(net, Batch(torch.rand(6, 1, 10, 9), torch.arange(6) % 3), Progress(5, 100, 10))
    assert set(loss.parts) == {"robust", "tightness", "balance"}
    found = torch.autograd.grad(loss.total, list(net.module.parameters()))
    assert all(g.isfinite().all() for g in found)
