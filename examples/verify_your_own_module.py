"""Verify a module of your own: which inputs keep their answer under any change of at most eps in each feature?

python examples/verify_your_own_module.py
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

import epsball


class Residual(nn.Module):
    """Any module that maps (B, *x) to logits (B, K); this one has a skip connection."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, 32)
        self.block = nn.Linear(32, 32)
        self.last = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        h = torch.relu(self.first(x))
        logits: Tensor = self.last(torch.relu(h + self.block(h)))
        return logits


def main() -> None:
    """Print how many of 50 random inputs are verified, falsified and unknown at three radii."""
    torch.manual_seed(0)
    net = Residual(10, 4).eval()
    x = torch.rand(50, 10)
    y = net(x).argmax(1)
    for eps in (0.001, 0.01, 0.1):
        verdicts = epsball.verify(net, x, y, eps=eps, timeout=30)
        print(f"eps {eps:g}: {dict(Counter(verdict.status for verdict in verdicts))}")


if __name__ == "__main__":
    main()
