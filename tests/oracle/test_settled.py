"""Neurons that leave CROWN's walk early, where a branch without a relaxation still carries single forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.bounding.linear.crown import Crown
from epsball.ops.network import Network
from epsball.problem.sets import Box
from zoo import Fn


@pytest.fixture(scope="module")
def network() -> Network:
    """A skip around two activations; the shift makes most neurons of the last layer stable."""
    torch.manual_seed(0)
    parts = {name: nn.Linear(6, 6) for name in ("stem", "first", "second", "last")}
    parts["shift"] = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, 0.0])

    def fn(m: Fn, x: torch.Tensor) -> torch.Tensor:
        h = m.stem(x)
        h = torch.relu(m.second(torch.relu(m.first(h)))) + h
        return m.head(torch.relu(m.last(h) + m.shift))

    return Network.capture(Fn(fn, **parts, head=nn.Linear(6, 3)).double(), (6,))


@pytest.mark.parametrize("eps", [0.05, 0.2, 0.5, 1.0])
def test_neurons_behind_a_skip_settle_soundly(network, eps):
    prepared = network.prepare()
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs, generator = Box(x, eps), torch.Generator().manual_seed(2)
    found = Crown().known(prepared, inputs).found
    for _ in range(300):
        values = {0: torch.where(torch.rand(x.shape, generator=generator) < 0.5, inputs.lower, inputs.upper)}
        for step in prepared.steps:
            values[step.slot] = step.op.value(*[values[slot] for slot in step.args])
        for slot, interval in found.items():
            assert bool(interval.contains(values[slot], slack=1e-9).all()), slot
