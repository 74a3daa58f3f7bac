"""Every bound method on every set: below samples and attacks, on a small network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.bounding.radius.lipschitz import Lipschitz
from epsball.ops.network import Network
from epsball.problem.property import robust
from set_zoo import PARAMETRISED, SETS, pictures

METHODS = {name: method() for name, method in bounders.items()} | {
    "alpha-crown": AlphaCrown(steps=5, lr=0.4),
    "alpha-crown-all": AlphaCrownAll(steps=2),
    "lipschitz": Lipschitz(),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    conv = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
    conv(pictures(1))
    return {
        "words": Network.capture(flat, (6, 4)),
        "few": Network.capture(nn.Sequential(nn.Flatten(), nn.Linear(24, 4), nn.ReLU(), nn.Linear(4, 3)).double(), (2, 4, 3)),
        "pictures": Network.capture(conv, tuple(pictures(1).shape[1:])),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETS | PARAMETRISED)
def test_every_bound_is_below_every_point(networks, kind):
    slow = kind.startswith("polytope")  # each row is a linear program
    network = networks["words" if kind == "words" else "few" if slow else "pictures"]
    count = 1 if slow else 3
    input_set = (SETS | PARAMETRISED)[kind](pictures(count))
    prepared = network.prepare()
    prop = robust(network.module(input_set.centre).argmax(1), 3, torch.float64)
    generator = torch.Generator().manual_seed(1)
    points = [input_set.sample(generator) for _ in range(10)] + [input_set.centre]
    steps = 2 if slow else 6
    points.append(PGD(steps=steps, targets="all", loss="margin")(network.module, input_set, prop).x)
    with torch.no_grad():
        least = torch.stack([prop.margins(network.module(x)) for x in points]).amin(0)
        for name, method in METHODS.items():
            bound = method(prepared, input_set, prop.rows())
            assert bool(torch.isfinite(bound).all()), name
            assert bool((bound <= least + 1e-7).all()), (name, float((bound - least).max()))
