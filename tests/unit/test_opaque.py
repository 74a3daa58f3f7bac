"""Networks with operations that no bound rule covers: they run, train and are attacked; a bound of them is refused by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import epsball
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders, output_interval
from epsball.errors import UnsupportedOp
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.training.base import recipes
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy
from epsball.training.events import Finished
from epsball.training.loop import fit

X = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 2).long()


class Prototypes(nn.Module):
    """Minus the sorted distances to learnt points, through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.points = nn.Parameter(torch.rand(6, 4))
        self.last = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near, order = torch.sort(torch.cdist(x, self.points))
        return self.last(near + 0 * order.to(near.dtype))


class Masked(nn.Module):
    """A comparison whose result goes into a layer as a number."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.last((h > 0).to(h.dtype)) + self.last(h)


class Sorted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cumsum(torch.sort(x)[0], 1))


@pytest.fixture(params=[Prototypes, Sorted, Masked])
def network(request) -> Network:
    return Network.capture(request.param(), (4,))


@pytest.mark.slow
def test_the_graph_is_the_module(network):
    assert torch.equal(network.prepare().forward(X), network.module(X))
    assert torch.allclose(network.prepare(torch.float64).forward(X.double()).float(), network.module(X), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(bounders))
def test_every_bound_is_refused_by_name(network, name):
    with pytest.raises(UnsupportedOp, match=r"no bounds for `(cdist|sort|gt)`") as raised:
        output_interval(bounders[name](), network.prepare(), Box(X[:2], 0.1))
    assert "test_opaque.py" in str(raised.value)  # the user's own line


@pytest.mark.slow
def test_the_public_functions_refuse_at_the_door_what_they_would_bound(network, monkeypatch):
    monkeypatch.setattr(PGD, "__call__", lambda *_: pytest.fail("attacked before it was refused"))
    with pytest.raises(UnsupportedOp, match="no bounds for"):
        epsball.verify(network, X[:4], Y[:4], eps=0.1)
    with pytest.raises(UnsupportedOp, match="no bounds for"):
        epsball.radius(network, X[:4], Y[:4])
    monkeypatch.undo()
    assert len(epsball.attack(network, X[:4], Y[:4], eps=0.1).margin) == 4


def test_it_is_attacked(network):
    found = PGD(steps=10)(network.module, Box(X, 0.3), robust(Y, 2), torch.Generator().manual_seed(0))
    assert ((found.x - X).abs() <= 0.3 + 1e-6).all()
    clean = robust(Y, 2).margins(network.module(X))
    assert (found.margin <= clean).all()
    assert (found.margin < clean).any()


def test_it_trains_by_standard_and_by_no_bound(network):
    config = TrainConfig(epochs=8, batch=16, lr=0.05, milestones=(), validation=0.25)
    *_, last = fit(network, recipes["standard"](), Examples(X, Y), config, IbpAccuracy(0.0))
    assert isinstance(last, Finished)
    assert last.selected.scores.clean > 0.6
    assert last.selected.scores.verified is None
    with pytest.raises(UnsupportedOp, match="no bounds for"):
        list(fit(network, recipes["ibp"](eps=0.1, warmup=0, ramp=4), Examples(X, Y), config, IbpAccuracy(0.1)))
    with pytest.raises(UnsupportedOp, match="no bounds for"):
        list(fit(network, recipes["standard"](), Examples(X, Y), config, IbpAccuracy(0.1)))


@pytest.mark.slow
def test_its_hash_is_the_same_in_another_process():
    script = (
        "import sys; sys.path.insert(0, 'tests/unit')\n"
        "from test_opaque import Prototypes; from epsball.ops.network import Network; from epsball.run.identity import network_of\n"
        "print(network_of(Network.capture(Prototypes(), (4,))))\n"
    )
    seen = {subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(seen) == 1
