"""Bounds through skip connections that no activation precedes: a row's forms over the skip are single while others are pairs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.bounding.base import bounders
from epsball.bounding.linear.crown import Crown
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box


class Skip(nn.Module):
    """`relu(B(h + A relu(C relu(h))))` with a linear h: a pre-activation block, as in transformers whose norms come first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.before, self.last = nn.Linear(6, width), nn.Linear(width, 48), nn.Linear(48, 3)
        self.branch = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.before(h + self.branch(h))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.middle(x)))


@pytest.mark.parametrize("eps", [0.01, 0.1])
def test_intermediate_and_output_bounds_hold_with_a_linear_skip(eps):
    torch.manual_seed(0)
    module = Skip(16)
    network = Network.capture(module, (6,))
    x = torch.rand(4, 6)
    box, generator = Box(x, eps), torch.Generator().manual_seed(1)
    samples = [box.sample(generator) for _ in range(200)]
    rows = Rows(torch.eye(3)[:, None].expand(-1, 4, -1))
    with torch.no_grad():
        found = Crown().known(network.prepare(), box).found
        values = torch.stack([module.middle(s) for s in samples])
        interval = next(found[s.args[0]] for s in reversed(network.prepare().steps) if s.node.op == "relu")
        assert bool((values >= interval.lower - 1e-5).all())
        assert bool((values <= interval.upper + 1e-5).all())
        least = torch.stack([module(s) for s in samples]).amin(0)
        for name in ("crown", "alpha-crown"):
            assert bool((least + 1e-5 >= bounders[name]()(network.prepare(), box, rows).T).all()), name
