"""A small transformer trained on real sentences: right on the dev set, and bounded around the embedded words."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.data.sst2 import Sst2
from epsball.models.base import build
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall


@pytest.mark.shared
def test_a_transformer_trained_on_sst2_is_right_and_its_bounds_hold_and_prove(shared):
    data = Sst2().load(shared / "data/sst2")
    torch.manual_seed(0)
    module = build("transformer-small", data.train.shape, 2, vocabulary=len(data.words), width=16, heads=2, hidden=32)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for part in torch.randperm(len(data.train))[: 64 * 100].split(64):
        loss = F.cross_entropy(module(data.train.x[part]), data.train.y[part])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    with torch.no_grad():
        predicted = module(data.test.x).argmax(1)
    right = predicted == data.test.y
    assert float(right.double().mean()) > 0.65  # the larger class has 0.51

    network = Network.capture(module, data.train.shape)
    chosen = right.nonzero()[:3, 0]
    with torch.no_grad():
        x, y = network.embed(data.test.x[chosen]), data.test.y[chosen]
    ball, prop = LpBall(x, 0.01), robust(y, 2)
    attacked = PGD(loss="margin")(network.module, ball, prop, torch.Generator().manual_seed(0)).margin
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        least = torch.stack([prop.margins(network.module(ball.sample(generator))) for _ in range(30)]).amin(0)
        bounds = {name: bounders[name]()(network.prepare(), ball, prop.rows()) for name in ("ibp", "crown-ibp", "crown")}
    for name, bound in bounds.items():
        assert bool((bound <= least + 1e-4).all()), name
        assert bool((bound.amin(0) <= attacked + 1e-4).all()), name
    assert bool((bounds["crown"] > bounds["crown-ibp"]).all())
    assert bool((bounds["crown-ibp"] > bounds["ibp"]).all())
    assert int((bounds["crown"] > 0).sum()) >= 2  # and labels of real sentences are proven
