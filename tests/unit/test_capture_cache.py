"""What the tests' memory of captures takes for the same network, and what it does not."""

from __future__ import annotations

import torch
from torch import nn

import zoo
from capture_cache import kind, remembering


def net(*, slope: float = 0.1, stride: int = 1, dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=stride), nn.LeakyReLU(slope), nn.Flatten(), nn.Linear(8, 2)).to(dtype)


class Own(nn.Module):
    def forward(self, x):
        return x * 2


def test_only_what_cannot_differ_is_taken_for_the_same():
    assert kind(net()) == kind(net()) is not None
    twice = nn.Linear(3, 3)
    different = [
        net(), net(slope=0.2), net(stride=2), net(dtype=torch.float64), nn.Sequential(*net()[:3]),
        nn.Sequential(twice, twice), nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)),
        *(zoo.build(name)[0] for name in ("mlp", "leaky", "sin", "cos")), zoo.build("sin", dtype=torch.float64)[0],
    ]  # fmt: skip
    assert len({kind(module) for module in different}) == len(different)
    assert kind(zoo.build("sin", 1)[0]) == kind(zoo.build("sin", 2)[0])


def test_what_cannot_be_seen_is_captured_each_time():
    hooked, replaced, shared = net(), net(), net()
    hooked[0].register_forward_hook(lambda *_: None)
    replaced[1].forward = torch.relu
    shared.append(Own())
    assert [kind(module) for module in (hooked, replaced, shared, Own())] == [None] * 4
    calls = []
    capture = remembering(lambda *given: calls.append(given) or len(calls))
    assert [capture(module, (1, 4, 4)) for module in (net(), Own(), net(), Own())] == [1, 2, 1, 3]
    assert capture(net(), (1, 4, 5)) == 4
