"""Every registered verifier: its verdicts bear its name, and a witness counts only if it breaks the user's own module."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import Box, Patch
from epsball.verification.base import Verdict, verifiers
from epsball.verification.divided import Cells
from epsball.verification.ladder import Ladder
from epsball.verification.replay import Replay
from epsball.verification.rungs import named_steps
from epsball.verification.rungs import verifier as named

EVERY = ("ibp", "crown", *verifiers)
SEEK = ("cells", "ladder", "lp", "multi-neuron")  # evaluate points of their own
F64 = torch.float64


def _module() -> nn.Module:
    """The margin is x0 + x1 - 0.4 - 1e-9 for inputs that are not negative."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.eye(2))
        module[0].bias.zero_()
        module[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        module[2].bias.copy_(torch.tensor([-0.4 - 1e-9, 0.0], dtype=F64))
    return module


def _problem(*radius: float) -> Problem:
    """Inputs around (0.5, 0.5); in a box of 0.3 one corner alone breaks the property."""
    module = _module()
    x = torch.full((len(radius), 2), 0.5, dtype=F64)
    box = Box(x, torch.tensor(radius, dtype=F64)[:, None].expand(-1, 2))
    return Problem(Network.capture(module, (2,)).prepare(), box, robust(torch.zeros(len(x), dtype=torch.int64), 2, F64), module)


class ButAt(nn.Module):
    """Another module in one point: there the margin is larger by something."""

    def __init__(self, module: nn.Module, point: torch.Tensor, by: float) -> None:
        super().__init__()
        self.module, self.by = module, by
        self.register_buffer("point", point)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = (x == self.point).flatten(1).all(1, keepdim=True)
        return self.module(x) + there * torch.tensor([self.by, 0.0], dtype=x.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_verdicts_bear_the_registered_name(name):
    verifier, problem = named(name), _problem(0.1, 0.3)
    assert verifier.name == name
    for verdict in verifier(problem, Budget()):
        assert verdict.method == verdict.evidence[-1].method
        assert len(verdict.steps) == len(verdict.evidence)
        if not verifier.composed:
            assert list(verdict.steps) == list(verdict.proven) == [name]
            assert verdict.proven[name] == verdict.margin
    for verdict in verifier(problem, Budget(seconds=1e-9)):
        assert verdict.status == "timeout"
        assert math.isnan(verdict.margin)
        assert verdict.method == name or verifier.composed
    assert (name in named_steps()) != verifier.composed


@pytest.mark.parametrize("name", EVERY)
def test_a_witness_breaks_the_users_own_module_or_is_none(name):
    problem = _problem(0.1, 0.3)
    proven, broken = named(name)(problem, Budget())
    assert proven.status == "verified"
    assert proven.witness is None
    assert broken.status == ("falsified" if name in SEEK else "unknown")
    assert (broken.witness is not None) == (name in SEEK)
    if broken.witness is None:
        return
    assert broken.found < 0
    assert bool(Replay(problem.take(torch.tensor([1])))(broken.witness.x[None]).broken)
    # the captured network is broken there as before, the module is not
    sure = replace(problem, function=ButAt(problem.function, broken.witness.x, 1.0))
    first, second = named(name)(sure, Budget())
    assert first.status == "verified"
    assert second.status == "unknown"
    assert second.witness is None
    # and without a module it is the captured network that counts
    assert named(name)(replace(problem, function=None), Budget())[1].status == "falsified"


@pytest.mark.parametrize("name", ["lp", "multi-neuron"])
def test_a_module_that_breaks_where_its_network_does_not_is_falsified(name):
    """2.5 - relu(a + b) - relu(a - b) is 0.5 at its least, and -0.5 for the relaxation: its minimiser decides nothing."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        module[0].bias.zero_()
        module[2].weight.copy_(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]))
        module[2].bias.copy_(torch.tensor([2.5, 0.0]))
    visited = []

    def looked(x: torch.Tensor) -> torch.Tensor:
        visited.append((x[0], float(module(x)[0, 0])))
        return module(x)

    box, prop = Box(torch.zeros(1, 2, dtype=F64), 1.0), robust(torch.tensor([0]), 2, F64)
    problem = Problem(Network.capture(module, (2,)).prepare(), box, prop, looked)
    (verdict,) = named(name)(problem, Budget())
    assert (verdict.status, verdict.steps[name].exact) == ("unknown", False)
    assert verdict.margin == pytest.approx(-0.5)
    assert verdict.found == min(margin for _, margin in visited) >= 0.5 - 1e-9
    last = visited[-1][0]
    (verdict,) = named(name)(replace(problem, function=ButAt(module, last, -9.0)), Budget())
    assert verdict.status == "falsified"
    assert torch.equal(verdict.witness.x, last)
    assert float(verdict.witness.y[0]) == verdict.found < -6
    assert verdict.steps[name].exact is False, "no point attains what is proven of the captured network"


@dataclass(frozen=True)
class Asked:
    """A step that keeps what it was asked, and nearly proves it."""

    problems: list[Problem]
    name: str = "asked"

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        self.problems.append(problem)
        return [Verdict("unknown", -1e-6, self.name, "", 0.0)] * len(problem)


@pytest.mark.slow
def test_every_problem_that_is_made_of_one_has_its_function():
    """Some of its samples, the second look in float64, and the cells of its sets."""
    problem, asked = _problem(0.1, 0.3), Asked([])
    assert problem.take(torch.tensor([1])).function is problem.function
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    x = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    single = Problem(Network.capture(net, (1, 4, 4)).prepare(), Patch(x, 1), robust(net(x).argmax(1), 2), net)
    Ladder((asked,))(single, Budget())
    assert [p.network.dtype for p in asked.problems] == [torch.float32, F64]
    Cells(2, Ladder(("clean", asked)))(single, Budget())
    assert len(asked.problems) == 4
    assert len(asked.problems[-1]) > 2
    assert all(p.function is single.function for p in asked.problems)
