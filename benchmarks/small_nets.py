"""The small networks that rounding.py and orderings.py share: random ones, and two trained on scikit-learn's 8x8 digits."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from epsball.bounding.ibp import Ibp
from epsball.ops.network import Network
from epsball.ops.prepared import prepare
from epsball.problem.property import robust
from epsball.problem.sets import LpBall


def mlp(*widths: int) -> nn.Sequential:
    """A ReLU network with these layer widths, input and output included."""
    layers: list[nn.Module] = [nn.Flatten()]
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def conv() -> nn.Sequential:
    """The small convolutional network of Wong and Kolter (2018) for 28 x 28 pictures."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and labels, test inputs and labels, in [0, 1]; every fifth picture is for testing."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    inputs, labels = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y, dtype=torch.int64)
    test = torch.arange(len(labels)) % 5 == 0
    return inputs[~test], labels[~test], inputs[test], labels[test]


def trained(x: Tensor, y: Tensor, eps: float, epochs: int = 60) -> nn.Sequential:
    """A 64-100-100-10 network trained by IBP with eps ramped up over the first half; eps 0 is plain training."""
    torch.manual_seed(0)
    module = mlp(64, 100, 100, 10)
    net = Network.capture(module, (64,))
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    for epoch in range(epochs):
        now = eps * min(1.0, 2 * epoch / epochs)
        for part in torch.randperm(len(x)).split(64):
            bound = prepare(net.plan, net.params())
            margins = Ibp()(bound, LpBall(x[part], now, clip=(0.0, 1.0)), robust(y[part], 10).rows())
            logits = torch.cat((torch.zeros_like(margins[:1]), -margins)).T
            optimiser.zero_grad()
            cross_entropy(logits, torch.zeros(len(part), dtype=torch.int64)).backward()
            optimiser.step()
    return module
