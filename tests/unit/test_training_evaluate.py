"""What a run counts as verified while it trains: what is proven for the module's own arithmetic, and classified rightly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.training import evaluate
from epsball.training.evaluate import IbpAccuracy

TERMS = 64


def swallowing(extra: float) -> Network:
    """Two logits, `1 + 63 / 2^24 + extra` as a sum of 65 terms, and 1: float32 may lose all of the small terms, in some order."""
    layer = nn.Linear(TERMS, 2)
    with torch.no_grad():
        layer.weight[0] = torch.tensor([1.0] + [2.0**-24] * (TERMS - 1))
        layer.weight[1] = torch.tensor([1.0] + [0.0] * (TERMS - 1))
        layer.bias.copy_(torch.tensor([extra, 0.0]))
    return Network.capture(layer, (TERMS,))


@pytest.mark.parametrize(("extra", "verified"), [(0.0, 0.0), (1e-3, 1.0)])
def test_a_margin_that_rounding_may_take_is_not_verified(extra: float, verified: float) -> None:
    data = Examples(torch.ones(4, TERMS), torch.zeros(4, dtype=torch.int64))
    network = swallowing(extra)
    with torch.no_grad():
        module = network.module.double()
        logits = module(data.x.double())
        module.float()
    assert bool((logits[:, 0] > logits[:, 1]).all()), "the margin is positive in real numbers"
    assert IbpAccuracy(0.0)(network, data).verified == verified


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, math.nan])
def test_a_margin_that_is_not_above_0_is_not_verified(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    margins = torch.tensor([value, 5e-324, 1.0, 1.0], dtype=torch.float64)
    monkeypatch.setattr(evaluate, "least_margins", lambda *_: margins)
    data = Examples(torch.ones(4, TERMS), torch.tensor([0, 0, 0, 1]))
    scores = IbpAccuracy(0.0)(swallowing(1e-3), data)
    assert (scores.clean, scores.verified) == (0.75, 0.5), "the last is proven, they say, but is classified as another"


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_shares_do_not_depend_on_the_batch(batch: int) -> None:
    x = torch.rand(7, TERMS, generator=torch.Generator().manual_seed(0))
    data = Examples(x, torch.tensor([0, 1, 0, 1, 0, 0, 0]))
    assert IbpAccuracy(0.0, batch=batch)(swallowing(0.5), data) == (5 / 7, 5 / 7, None)
