"""What an attack finds for a sample depends on the seed and the sample, not on who else is in the batch."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch import nn

import epsball
from epsball.attacks.pgd import PGD
from epsball.attacks.starts import fingerprints
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall, Patch
from epsball.verification.ladder import Ladder


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 4)).double()


SETS = {
    "linf": lambda x: LpBall(x, 0.3, "linf", (0.0, 1.0)),
    "l2": lambda x: LpBall(x, 0.8, "l2", (0.0, 1.0)),
    "l1": lambda x: LpBall(x, 1.0, "l1", (0.0, 1.0)),
    "l0": lambda x: LpBall(x, 3, "l0", (0.0, 1.0)),
    "patch": lambda x: Patch(x, 2),
    "box": lambda x: Box(x, 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("stop", ["never", "success"])
def test_a_sample_is_attacked_alike_in_every_slice_and_order(net, name, stop):
    x = torch.rand(24, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = net(x).argmax(1)
    attack = PGD(steps=2, restarts=3, targets=2, stop=stop)

    def margins(index):
        index = torch.tensor(index)
        found = attack(net, SETS[name](x[index]), robust(y[index], 4, torch.float64), torch.Generator().manual_seed(5))
        return dict(zip(index.tolist(), found.margin.tolist(), strict=True))

    whole = margins(list(range(24)))
    for index in (list(range(23, -1, -1)), list(range(0, 24, 3)), [7], [5, 20, 6]):
        for i, margin in margins(index).items():
            assert margin == pytest.approx(whole[i], abs=1e-9)


def test_other_seeds_samples_and_runs_start_elsewhere(net):
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[1] = x[0]
    x[1, 0, 0, 0] += 2**-40
    seen = []

    class Recording(Box):
        def sample(self, generator):
            point = super().sample(generator)
            seen.append(point)
            return point

        def take(self, index):
            return Recording(self.x[index], 0.25)

        def inner(self):
            return self

    prop = robust(torch.tensor([0, 1, 2]), 4, torch.float64)
    for seed in (0, 1):
        PGD(steps=1, restarts=2)(net, Recording(x, 0.25), prop, torch.Generator().manual_seed(seed))
    shares = [(point - centre) / 0.25 for point, centre in zip(seen, x.repeat(4, 1, 1, 1)[:, None], strict=True)]
    for i, a in enumerate(shares):
        assert all(float((a - b).abs().max()) > 0.1 for b in shares[:i])


def test_fingerprints_tell_near_inputs_apart():
    x = torch.zeros(1 + 2 * 784, 784)
    for i in range(784):
        x[1 + i, i], x[785 + i, i] = 1.0, 1.0 + 2**-23
    assert len(set(fingerprints(x))) == len(x)
    pairs = torch.zeros(64 * 63 // 2, 64)
    for row, two in enumerate(itertools.combinations(range(64), 2)):
        pairs[row, list(two)] = 1.0
    assert len(set(fingerprints(pairs))) == len(pairs)


@pytest.mark.slow
def test_the_ladder_attacks_a_sample_alike_in_every_chunk_and_slice(net):
    x = torch.rand(30, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = net(x).argmax(1)
    ladder = Ladder(("clean", "attack"), PGD(steps=2, targets=1))

    def found(part, chunk):
        ladder_ = Ladder(ladder.steps, ladder.attack, chunk=chunk)
        return [v.found for v in epsball.verify(net, x[part], y[part], eps=0.3, method=ladder_)]

    whole = found(slice(None), 256)
    assert found(slice(None), 7) == pytest.approx(whole, abs=1e-9)
    assert found(slice(1, None, 2), 4) == pytest.approx(whole[1::2], abs=1e-9)


@pytest.mark.slow
def test_starts_are_fast():
    """A start is a small part of the gradients that follow it: 500 pictures within half a second of this thread."""
    x = torch.rand(500, 3, 32, 32)
    from epsball.attacks.starts import Starts

    began = time.thread_time()
    Starts(LpBall(x, 0.1, "linf", (0.0, 1.0)), 1).draw(torch.arange(500), 0)
    assert time.thread_time() - began < 0.5
