"""Bounds of each layer during a run: widths against a formula, spreads, names, and when they are recorded."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.history import current
from epsball.record.lines import ResumeLine, TightnessLine
from epsball.run.training_job import line
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy
from epsball.training.layers import Census, Tightness, census, tightness
from epsball.training.loop import fit
from epsball.training.recipes.ibp import IbpTraining


def _examples(count: int = 6, size: int = 4) -> Examples:
    x = torch.rand(count, size, generator=torch.Generator().manual_seed(1))
    return Examples(x, torch.arange(count) % 3)


def test_widths_are_those_of_the_formula():
    """Delta_i = |W_i| delta_{i-1}, from the box of width 2 eps; the spread is that of the clean values."""
    torch.manual_seed(0)
    one, two, three = nn.Linear(4, 5), nn.Linear(5, 7), nn.Linear(7, 3)
    net = Network.capture(nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three), (4,))
    data, eps = _examples(), 0.05
    first, layers = tightness(net, data, eps, None)
    assert first == pytest.approx(2 * eps)
    with torch.no_grad():
        centre = one(data.x)
        radius = eps * one.weight.abs().sum(1)
        assert layers[0].width == pytest.approx(2 * radius.mean().item(), rel=1e-5)
        after = (centre + radius).relu() - (centre - radius).relu()
        assert layers[1].width == pytest.approx((after @ two.weight.abs().T).mean().item(), rel=1e-5)
        clean = two(centre.relu())
        assert layers[1].spread == pytest.approx((clean - clean.mean(0)).square().mean().sqrt().item(), rel=1e-5)


def test_a_layer_scaled_keeps_width_over_spread():
    torch.manual_seed(0)
    one = nn.Linear(4, 5)
    net = Network.capture(nn.Sequential(one, nn.ReLU(), nn.Linear(5, 3)), (4,))
    before = tightness(net, _examples(), 0.05, None)[1][0]
    with torch.no_grad():
        one.weight.mul_(3)
    after = tightness(net, _examples(), 0.05, None)[1][0]
    assert after.width == pytest.approx(3 * before.width, rel=1e-5)
    assert after.width / after.spread == pytest.approx(before.width / before.spread, rel=1e-5)


class Shared(nn.Module):
    """One ReLU module used twice, and a functional one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.three(self.act(self.two(self.act(self.one(x)))))))


@pytest.mark.slow
def test_every_relu_has_a_name_of_its_own():
    net = Network.capture(Shared(), (4,))
    layers = census(net, _examples(), 0.1, None)
    assert len({layer.name for layer in layers}) == len(layers) == 3
    assert [layer.neurons for layer in layers] == [5, 5, 5]
    assert [layer.name for layer in tightness(net, _examples(), 0.1, None)[1]] == [layer.name for layer in layers]


def _events(eps: float) -> list:
    torch.manual_seed(0)
    net = Network.capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), (4,))
    config = TrainConfig(epochs=3, batch=10, validation=0.2)
    return list(fit(net, IbpTraining(0.1, warmup=1, ramp=1), _examples(50), config, IbpAccuracy(eps)))


@pytest.mark.slow
def test_tightness_is_measured_before_the_first_step_and_after_each_epoch_at_one_radius():
    events = _events(0.02)
    found = [e for e in events if isinstance(e, Tightness)]
    assert events[0] is found[0]
    assert [(e.epoch, e.step, e.eps) for e in found] == [(0, 0, 0.02), (1, 4, 0.02), (2, 8, 0.02), (3, 12, 0.02)]
    assert [e.eps for e in events if isinstance(e, Census)] == [0.0, 0.1, 0.1]
    told = line(found[1])
    assert told.kind == told.written()["type"] == "tightness"
    assert told.written()["layers"] == [layer._asdict() for layer in found[1].layers]
    assert [e for e in _events(0.0) if isinstance(e, Tightness)] == []


def test_a_resumed_run_has_each_epoch_once():
    lines = [TightnessLine(epoch=e, step=4 * e, eps=0.1, input=0.2, layers=[]) for e in (0, 1, 2)]
    again = [*lines, ResumeLine(step=6), lines[2]]
    assert [kept.epoch for kept in current(again) if isinstance(kept, TightnessLine)] == [0, 1, 2]
    fresh = [*lines, ResumeLine(step=0), *lines]
    assert [kept.epoch for kept in current(fresh) if isinstance(kept, TightnessLine)] == [0, 1, 2]
