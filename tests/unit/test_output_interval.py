"""Bounds of many outputs: in parts that fit the memory, and by intervals without any linear form where none is tighter."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import epsball
from epsball.bounding.base import output_interval
from epsball.bounding.ibp import Ibp
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.sets import Box


@dataclass
class Exact:
    """Least values of forms of `W x + b` over a box, in closed form; it keeps the bytes of the forms that it was given."""

    layer: nn.Linear
    seen: list[int] = field(default_factory=list)

    def __call__(self, network, input_set, rows):
        self.seen.append(rows.values.numel() * rows.values.element_size())
        lower, upper = input_set.hull()
        a = rows.values @ self.layer.weight
        return (torch.minimum(a * lower, a * upper)).sum(-1) + rows.values @ self.layer.bias


@pytest.fixture
def wide():
    torch.manual_seed(0)
    return nn.Linear(5, 700)


@pytest.mark.slow
def test_forms_of_many_outputs_come_in_parts(wide):
    x = torch.rand(3, 5)
    network, limit = Network.capture(wide, (5,)).prepare(), 2**20
    method = Exact(wide)
    with torch.no_grad():
        found = output_interval(method, network, Box(x, 0.1), limit)
        middle, reach = wide(x), 0.1 * wide.weight.abs().sum(1)
    assert max(method.seen) <= limit // 4
    assert len(method.seen) > 1
    assert torch.allclose(found.lower, middle - reach, atol=1e-4)
    assert torch.allclose(found.upper, middle + reach, atol=1e-4)


def test_few_outputs_come_at_once():
    layer = nn.Linear(5, 10)
    method = Exact(layer)
    with torch.no_grad():
        output_interval(method, Network.capture(layer, (5,)).prepare(), Box(torch.rand(50, 5), 0.1))
    assert len(method.seen) == 1


class ByForms:
    """Intervals by forms alone."""

    def __call__(self, network, input_set, rows):
        return Ibp()(network, input_set, rows)


class Scaled(nn.Module):
    """200,000 outputs: forms of all of them would take 160 GB."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(-2, 2, 200_000))

    def forward(self, x):
        return self.factor * torch.relu(x)


@pytest.mark.slow
def test_intervals_need_no_forms():
    x = torch.rand(2, 200_000) - 0.5
    with torch.no_grad():
        net = Scaled()
        found = epsball.bounds(net, Box(x, 0.1), "ibp", Budget(bytes=2**28))
        ends = torch.stack([net.factor * (x + d).clamp(min=0) for d in (-0.1, 0.1)])
    assert torch.allclose(found.lower, ends.amin(0), atol=1e-5)
    assert torch.allclose(found.upper, ends.amax(0), atol=1e-5)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))
            self.second.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]]))

    def forward(self, x):
        return self.second(self.first(x))


class Cancels(nn.Module):
    def forward(self, x):
        return torch.cat((2 * x, x), 1)[:, 0:2] - torch.cat((2 * x, x), 1)[:, 3:5]


@pytest.mark.slow
@pytest.mark.parametrize(("net", "width"), [(Twice(), [0.4, 0.4]), (Cancels(), [0.2, 0.2])])
def test_intervals_stay_as_tight_where_forms_are_tighter(net, width):
    """2 x0 and 2 x1 by two layers that mix; 2 x - x by one value used twice."""
    found = epsball.bounds(net, Box(torch.full((1, 3), 0.5), 0.1), "ibp")
    assert torch.allclose(found.width, torch.tensor([width]), atol=1e-4)


@pytest.mark.slow
def test_both_ways_agree_on_a_network():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 6))
    network, box = Network.capture(net, (4,)).prepare(), Box(torch.rand(5, 4), 0.1)
    with torch.no_grad():
        direct = Ibp().output(network, box)
        forms = output_interval(ByForms(), network, box)
    assert direct is not None
    assert torch.allclose(direct.lower, forms.lower, atol=1e-5)
    assert torch.allclose(direct.upper, forms.upper, atol=1e-5)
