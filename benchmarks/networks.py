"""The three seeded networks that peers are measured on (default initialisation, seed 0, evaluation mode)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def build(name: str) -> nn.Module:
    """mlp: 784-256-256-10; cnn4: four convolutions, two hidden layers; cnn7: five convolutions with batch norm."""
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    if name == "cnn4":
        convs = ((1, 16, 3, 1), (16, 16, 4, 2), (16, 32, 3, 1), (32, 32, 4, 2))
        layers = [layer for i, o, k, s in convs for layer in (nn.Conv2d(i, o, k, s, 1), nn.ReLU())]
        dense = (nn.Linear(32 * 49, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        return nn.Sequential(*layers, nn.Flatten(), *dense)
    if name == "cnn7":
        convs = ((1, 64, 3, 1), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1), (128, 128, 3, 1))
        layers = [layer for i, o, k, s in convs for layer in (nn.Conv2d(i, o, k, s, 1), nn.BatchNorm2d(o), nn.ReLU())]
        dense = (nn.Linear(128 * 14 * 14, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 10))
        return nn.Sequential(*layers, nn.Flatten(), *dense)
    raise ValueError(name)


def seeded(name: str, batch: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, its inputs (batch, 1, 28, 28) and its own predictions as labels."""
    torch.manual_seed(0)
    module = build(name).eval()
    x = torch.rand(batch, 1, 28, 28)
    with torch.no_grad():
        return module, x, module(x).argmax(1)
