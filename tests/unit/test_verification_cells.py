"""Sets in cells: verified when every cell is, falsified by one picture, and never against a sample."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig, Unsound
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import Geometric, LpBall, Patch, Photometric, Transformed
from epsball.verification.base import WORST_FIRST, Status, Verdict, Witness, worst
from epsball.verification.divided import Cells
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert verdict.proven == {"cells": verdict.margin}
    assert verdict.margin > 0
    assert list(verdict.steps) == ["clean", "attack", "cells"]
    assert verdict.steps["cells"].seconds > 0


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


ORDER = ("falsified", "error", "timeout", "unknown", "verified")  # what decides over what, from the worst on


@dataclass(frozen=True)
class Told:
    """A step that says of each cell what it is told to say."""

    says: tuple[str, ...]
    margins: tuple[float, ...]
    name: str = "told"

    def __call__(self, problem, budget):
        assert len(problem) == len(self.says)
        cells = problem.input_set
        wanted = cells.x + torch.lerp(cells.lower, cells.upper, 0.75).sum(1).view_as(cells.x)  # a picture of each cell
        witnesses = [Witness(x, torch.zeros(2)) for x in cells.project(wanted)]
        return [
            Verdict(s, m, self.name, "", 1.0, witness if s == "falsified" else None, note="oops" * (s == "error"))
            for s, m, witness in zip(self.says, self.margins, witnesses, strict=True)
        ]


@functools.cache
def _pixel() -> Problem:
    """One picture of one pixel whose margin is 0.02 less the change of its brightness."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        module[1].bias.copy_(torch.tensor([-0.3, 0.3], dtype=F64))
        module[3].weight.copy_(torch.tensor([[-1.0, -1.0], [0.0, 0.0]]))
        module[3].bias.copy_(torch.tensor([0.02, 0.0], dtype=F64))
    brighter = Transformed.within(torch.full((1, 1, 1, 1), 0.3, dtype=F64), Photometric(clip=None), brightness=0.5)
    return Problem(Network.capture(module, (1, 1, 1)).prepare(), brighter, robust(torch.tensor([0]), 2, F64), module)


def _bright(*says: str, before: float = -1.0) -> Verdict:
    """Its verdict from as many cells as there are statuses."""
    own = {"falsified": -0.6, "error": math.nan, "timeout": math.nan, "unknown": -0.3, "verified": 0.01}
    told = Told(says, tuple(own[s] for s in says))
    first = Told(("unknown",) * len(says), (before,) * len(says), "first")
    (verdict,) = Cells(len(says), Ladder(("clean", first, told)))(_pixel(), Budget())
    return verdict


def test_the_order_of_what_decides_is_total():
    assert set(WORST_FIRST) == set(get_args(Status))
    assert len(WORST_FIRST) == len(get_args(Status))
    assert tuple(s for s in WORST_FIRST if s in ORDER) == ORDER
    assert [worst(ORDER[i:]) for i in range(5)] == list(ORDER)


@pytest.mark.slow
@pytest.mark.parametrize("says", list(itertools.product(ORDER, repeat=2)))
def test_the_worst_of_two_cells_decides(says):
    verdict = _bright(*says)
    assert verdict.status == min(says, key=ORDER.index)
    assert (verdict.witness is not None) == ("falsified" in says)
    assert verdict.method == "cells"
    if "falsified" in says:
        x = float(verdict.witness.x)
        assert float(verdict.witness.y[0]) == pytest.approx(0.02 - abs(x - 0.3))  # of the module, not what the step said
        assert verdict.steps["cells"].found <= float(verdict.witness.y[0]) < 0
    elif "error" in says:
        assert verdict.note == "oops"


@pytest.mark.parametrize("place", range(5))
def test_one_cell_of_five_is_enough(place):
    for status in ORDER[:4]:
        assert _bright(*(status if i == place else "verified" for i in range(5))).status == status


def test_cells_that_prove_more_than_a_point_of_the_whole_has_are_an_error_of_the_sample():
    """The nominal picture's own margin is 0.02, and it lies in none of the cells' reports."""
    first, told = Told(("unknown",) * 2, (-1.0,) * 2, "first"), Told(("verified",) * 2, (5.0, 5.0))
    (verdict,) = Cells(2, Ladder(("clean", first, told)))(_pixel(), Budget())
    assert verdict.status == "error"
    assert verdict.note.startswith("contradiction: ")


def test_a_contradiction_in_a_cell_is_an_error_of_the_sample():
    verdict = _bright("unknown", "unknown", "falsified", before=5.0)
    assert verdict.status == "error"
    assert verdict.note.startswith("contradiction: ")


@pytest.mark.parametrize("margin", [0.0, -0.2, math.nan, -math.inf])
def test_no_verdict_is_verified_without_a_positive_margin(margin):
    with pytest.raises(Unsound, match="verified"):
        Verdict("verified", margin, "mine", "", 0.0)
    assert Verdict("unknown", margin, "mine", "", 0.0).status == "unknown"
    assert Verdict("verified", 5e-324, "mine", "", 0.0).status == "verified"


@pytest.mark.slow
def test_a_program_that_falsifies_a_cell_falsifies_the_patch(network):
    """Every corner of every patch is the oracle: no patch is verified that one of them breaks."""
    x = _smooth(8).clamp(0, 1)
    labels = network.module(x).argmax(1)
    verdicts = Cells(2, Ladder(("clean", "lp")))(
        Problem(network.prepare(), Patch(x, 1, (-4.0, 4.0)), robust(labels, 3, F64), network.module), Budget()
    )
    by_cells = 0
    for i, verdict in enumerate(verdicts):
        pictures = x[i].repeat(200, 1, 1, 1)
        for k in range(200):
            pictures[k, 0, k // 2 // 10, k // 2 % 10] = 8.0 * (k % 2) - 4.0
        broken = bool((network.module(pictures).argmax(1) != labels[i]).any())
        assert not (broken and verdict.status == "verified")
        if verdict.status == "falsified":
            by_cells += verdict.method == "cells"
            assert int((verdict.witness.x != x[i]).sum()) == 1
            assert int(network.module(verdict.witness.x[None]).argmax()) != labels[i]
    assert by_cells >= 1
