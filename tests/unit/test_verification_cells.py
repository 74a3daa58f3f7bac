"""Sets in cells: verified when every cell is, falsified by one picture, and never against a sample."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig
from epsball.graph.network import Network
from epsball.rows import Rows
from epsball.spec.problem import Budget, Problem
from epsball.spec.property import robust
from epsball.spec.sets import Geometric, LpBall, Patch, Photometric, Transformed
from epsball.verification.cells import Cells
from epsball.verification.ladder import Ladder

F64 = torch.float64


def _smooth(count: int) -> torch.Tensor:
    """Blurred noise: pictures in which neighbours are alike."""
    noise = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(0), dtype=F64)
    return nn.functional.avg_pool2d(noise, 3, stride=1) * 1.4 - 0.2


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, 3))
    return Network.capture(module.double(), (1, 10, 10))


KINDS = {
    "rotation": lambda x: Transformed.within(x, Geometric(), angle=6.0),
    "translation": lambda x: Transformed.within(x, Geometric(pieces=9), right=0.15, down=0.15),
    "photometric": lambda x: Transformed.within(x, Photometric(), contrast=0.15, brightness=0.05),
}


def _problem(network: Network, kind: str, count: int = 6) -> Problem:
    x = _smooth(count).clamp(0, 1)
    labels = network.module(x).argmax(1)
    labels[0] = (labels[0] + 1) % 3  # wrong from the start
    return Problem(network.prepare(), KINDS[kind](x), robust(labels, 3, F64))


@pytest.mark.parametrize("size", [1, 2])
def test_a_patch_in_known_places_is_a_box(network, size):
    """Cells as small as positions prove what boxes prove, and together hold every square."""
    x = _smooth(3).clamp(0, 1)
    patch, rows = Patch(x, size), torch.randn(5, 3, 1, 10, 10, generator=torch.Generator().manual_seed(2), dtype=F64)
    for count in (1, 4, 100):
        cells, owner = patch.cells(count)
        apart = cells.minimise(Rows(rows[:, owner]))
        together = torch.stack([apart[:, owner == i].amin(1) for i in range(3)], 1)
        torch.testing.assert_close(together, patch.minimise(Rows(rows)))
    assert len(owner) == 3 * (11 - size) ** 2
    assert cells.is_box
    low, high = cells.hull()
    assert bool(((low != high).flatten(1).sum(1) <= size**2).all())
    problem = Problem(network.prepare(), patch, robust(network.module(x).argmax(1), 3, F64))
    ladder = Ladder(("clean", "attack", "crown"))
    few, many = (Cells(n, ladder)(problem, Budget()) for n in (1, 9))
    assert all(b.margin > a.margin for a, b in zip(few, many, strict=True) if b.method == "cells")


@pytest.mark.parametrize("kind", KINDS)
def test_more_cells_prove_more_and_no_sample_contradicts(network, kind):
    problem = _problem(network, kind)
    ladder = Ladder(("clean", "attack", "crown"))
    few, many = (Cells(count, ladder)(problem, Budget()) for count in (1, 4))
    assert few[0].status == many[0].status == "misclassified"
    assert few[0].method == "clean"
    assert sum(v.status == "verified" for v in many) >= sum(v.status == "verified" for v in few)
    assert any(v.status == "verified" for v in many)
    assert all(b.margin >= a.margin - 1e-9 for a, b in zip(few, many, strict=True) if a.method == b.method == "cells")
    whole, generator = problem.input_set, torch.Generator().manual_seed(1)
    for _ in range(200):
        share = torch.rand(whole.lower.shape, generator=generator, dtype=F64)
        picture = whole.transform.apply(whole.x, torch.lerp(whole.lower, whole.upper, share))
        margins = problem.prop.margins(network.module(picture).detach()).amin(0)
        for verdict, margin in zip(many, margins.tolist(), strict=True):
            assert verdict.status != "verified" or margin > 0
            assert verdict.method != "cells" or verdict.margin <= margin + 1e-9


def test_a_verdict_of_cells_says_so(network):
    verdict = next(v for v in Cells(3)(_problem(network, "photometric"), Budget()) if v.status == "verified")
    assert verdict.method == "cells"
    assert verdict.stats["cells"] == verdict.margin > 0
    assert {"clean", "attack", "cells.seconds"} <= set(verdict.stats)


def test_what_time_does_not_reach_is_no_answer(network):
    verdicts = Cells(3)(_problem(network, "photometric"), Budget(seconds=1e-9))
    assert {v.status for v in verdicts} <= {"timeout", "falsified"}
    assert all(math.isnan(v.margin) for v in verdicts if v.status == "timeout")


def test_other_sets_go_to_the_ladder(network):
    x = _smooth(2).clamp(0, 1)
    problem = Problem(network.prepare(), LpBall(x, 0.001), robust(network.module(x).argmax(1), 3, F64))
    alike = [[v.status for v in verifier(problem, Budget())] for verifier in (Cells(3), Ladder())]
    assert alike[0] == alike[1]


@pytest.mark.parametrize(("make", "says"), [(lambda: Cells(0), "1 or more"), (lambda: Cells(2, Ladder(("crown",))), "falsify")])
def test_bad_options_are_refused(make, says):
    with pytest.raises(BadConfig, match=says):
        make()
