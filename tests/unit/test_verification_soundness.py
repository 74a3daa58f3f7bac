"""The comparisons that decide: margins against 0, proofs against attacks, one status out of many, a witness against the module."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
import torch
from torch import nn

from epsball.attacks.pgd import PGD
from epsball.bounding.base import least_margins
from epsball.errors import Unsound
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, InputSet, LpBall, Patch
from epsball.verification.base import STATUSES, Verdict, worst
from epsball.verification.divided import Cells, _together
from epsball.verification.incomplete import Incomplete
from epsball.verification.ladder import Ladder
from epsball.verification.replay import Replay
from epsball.verification.soundness import CONTRADICTION, contradiction
from epsball.verification.survey import survey

TIES = nn.Linear(2, 2, bias=False)
with torch.no_grad():
    TIES.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))


@dataclass(frozen=True)
class Says:
    """A bound method that knows its answer for every form of a sample; the sample's number is its last feature."""

    margins: tuple[float, ...]

    def __call__(self, _network, input_set, rows):
        known = torch.tensor(self.margins, dtype=rows.values.dtype)
        return known[input_set.centre[:, -1].long()].expand(len(rows.values), -1)


def problem(x: torch.Tensor, eps: float = 0.0, covers: str = "module") -> Problem:
    return Problem(
        Network.capture(TIES, (2,)).prepare(covers=covers), Box(x, eps), robust(torch.zeros(len(x), dtype=torch.int64), 2)
    )


def test_only_a_margin_above_0_is_verified() -> None:
    margins = (1e-45, 1.0, 0.0, -0.0, -1e-45, math.nan, -math.inf)
    what = problem(torch.stack((torch.full((7,), 9.0), torch.arange(7.0)), 1))
    verdicts = Incomplete(Says(margins), label="says")(what, Budget())
    assert [v.status for v in verdicts] == ["verified", "verified", *["unknown"] * 5]
    ladder = Ladder(steps=(Incomplete(Says(margins), label="says"),))(what, Budget())
    assert [v.status for v in ladder] == ["verified", "verified", *["unknown"] * 5]


@pytest.mark.parametrize("margin", [0.0, -0.0, -1.0, math.nan])
def test_a_verdict_cannot_be_verified_without_a_margin(margin: float) -> None:
    with pytest.raises(Unsound, match="calls a sample verified whose proven margin is"):
        Verdict("verified", margin, "ibp", "", 0.0)
    assert Verdict("verified", 5e-324, "ibp", "", 0.0).margin > 0
    assert Verdict("unknown", margin, "ibp", "", 0.0).status == "unknown"


def test_the_worst_of_any_statuses_decides() -> None:
    order = ("misclassified", "falsified", "error", "timeout", "unknown", "verified")
    assert set(order) == set(STATUSES)
    for first, second in itertools.combinations(order, 2):
        assert worst([first, second]) == worst([second, first]) == first
    assert all(worst([status, status]) == status for status in order)


def test_what_is_a_contradiction() -> None:
    """Found and proven margins against each other: 16 units of the dtype, of the size of the outputs, are given away."""
    eps = torch.finfo(torch.float32).eps

    def wrong(found: float, proven: float, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> bool:
        return bool(contradiction({"attack": found}, {"ibp": proven}, dtype=dtype, scale=scale))

    assert not wrong(0.5, 0.5)
    assert not wrong(0.5, 0.5 - 1e-3)
    assert wrong(-1.0, 1.0)
    assert wrong(-1.0, -0.5), "of what is false on both sides of 0, too"
    assert wrong(0.5, 1.0)
    assert not wrong(1.0 - 31 * eps, 1.0)
    assert wrong(1.0 - 34 * eps, 1.0)
    assert not wrong(-15 * eps, 0.0)
    assert wrong(-17 * eps, 0.0)
    assert not wrong(-1500 * eps, 0.0, scale=100.0)
    assert wrong(-1700 * eps, 0.0, scale=100.0)
    assert wrong(1.0 - 31 * eps, 1.0, dtype=torch.float64)
    assert not wrong(math.nan, 1.0)
    assert not wrong(1.0, math.nan)
    assert not contradiction({}, {"ibp": 1.0}, dtype=torch.float32)
    text = contradiction({"clean": 2.0, "attack": -1.0}, {"crown": -2.0, "ibp": 1.5}, dtype=torch.float32)
    assert text.startswith(f"{CONTRADICTION}'ibp' proves a margin of at least 1.5, but 'attack' found an input with -1.")


def test_a_contradiction_is_one_samples_error() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [4.0, 2.0]])
    steps = ("clean", Incomplete(Says((0.5, 0.5, 2.5)), label="says"))
    verdicts = Ladder(steps=steps, everywhere=("says",))(problem(x), Budget())
    assert [v.status for v in verdicts] == ["verified", "error", "error"], "0.5 proven where -1 was found, 2.5 where 2"
    assert [v.note.startswith(CONTRADICTION) for v in verdicts] == [False, True, True]


def test_constants_of_a_property_are_added_downwards() -> None:
    """In rationals: `bound + d` may round up, and would prove a margin that nobody has."""
    generator = torch.Generator().manual_seed(0)
    bounds, d = torch.randn(1, 500, generator=generator), torch.randn(1, 500, generator=generator)
    prop = Property(torch.ones(1, 500, 2), d)
    margins = least_margins(lambda *_: bounds, None, None, prop)
    for margin, bound, constant in zip(margins.tolist(), bounds[0].tolist(), d[0].tolist(), strict=True):
        exact = Fraction(bound) + Fraction(constant)
        assert Fraction(margin) <= exact
        assert float(exact) - margin <= 1e-6
    without = least_margins(lambda *_: torch.stack((bounds[0], -bounds[0])), None, None, Property(torch.ones(2, 500, 2)))
    assert torch.equal(without, -bounds[0].abs())


def test_a_witness_must_lie_in_the_exact_set_and_break_the_module() -> None:
    x = torch.tensor([[1.0, 0.75]]).expand(4, 2)
    what = problem(x, 0.375)
    points = torch.tensor([[1.0, 0.75], [0.75, 1.0], [0.5, 1.0], [0.875, 0.875]])
    found = Replay(what, TIES)(points)
    assert found.margin.tolist() == [0.25, -0.25, -0.5, 0.0]
    assert found.broken.tolist() == [False, True, False, bool(what.prop.broken(torch.tensor([0.0] * 4))[3])]
    assert found.margin.dtype == torch.float64
    assert torch.equal(found.y, points)
    other = nn.Sequential(nn.Flatten(), nn.Linear(2, 2).double())
    assert Replay(what, other).dtype == torch.float64
    assert Replay(what, other)(points).y.dtype == torch.float64
    assert Replay(what, None).dtype == torch.float32
    plain = replace(Replay(what), function=lambda z: -z)
    assert plain(points).margin.tolist() == [-0.25, 0.25, 0.5, 0.0]


def test_a_witness_one_step_outside_the_exact_ball_is_none() -> None:
    """The ball around 0.1 of 0.2, both rounded: the outward box has floats that the ball has not."""
    x = torch.full((1, 2), 0.1)
    ball = LpBall(x, 0.2)
    end = Fraction(float(torch.tensor(0.1))) + Fraction(0.2)
    value = torch.tensor(0.3)
    inside, outside = (value, torch.nextafter(value, torch.tensor(1.0))) if Fraction(float(value)) <= end else (
        torch.nextafter(value, torch.tensor(0.0)), value
    )  # fmt: skip
    assert Fraction(float(inside)) <= end < Fraction(float(outside))
    assert ball.holds(torch.stack((x[0, 0], inside))[None]).tolist() == [True]
    assert ball.holds(torch.stack((x[0, 0], outside))[None]).tolist() == [False]


@pytest.mark.parametrize(
    "verifier", [Ladder(steps=("clean", "ibp")), Cells(1, Ladder(steps=("clean", "ibp")))], ids=["ladder", "cells"]
)
def test_a_survey_asks_the_users_own_module(verifier) -> None:
    """Between the capture and the first question the module turns around: what it now says decides, not the captured graph."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4]))
    network = Network.capture(module, (1, 2, 2))
    x, y = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)

    def turned(inputs: torch.Tensor) -> InputSet:
        module[1].weight = nn.Parameter(module[1].weight.detach().flip(0))  # another tensor: the prepared network keeps the first
        return Patch(inputs, 1)

    lines = list(survey(network, [(torch.arange(3), x, y)], turned, verifier))
    assert [line.status for line in lines] == ["misclassified"] * 3
    given = (
        replace(verifier, function=lambda z: z.flatten(1)[:, :2] * torch.tensor([1.0, 0.0]))
        if isinstance(verifier, Ladder)
        else None
    )
    if given is not None:
        lines = list(survey(network, [(torch.arange(3), x, y)], turned, given))
        assert "misclassified" not in {line.status for line in lines}, "a function of its own is kept"


@dataclass(frozen=True)
class Noting:
    """A verifier that keeps what it was asked."""

    asked: list[Problem]

    def __call__(self, what: Problem, _budget: Budget) -> list[Verdict]:
        self.asked.append(what)
        return [Verdict("unknown", math.nan, "none", "", 0.0)] * len(what)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None])
def test_a_survey_bounds_in_the_precision_that_was_asked_for(dtype: torch.dtype | None) -> None:
    asked: list[Problem] = []
    x = torch.rand(2, 2, dtype=torch.float64)
    list(
        survey(
            Network.capture(TIES, (2,)),
            [(torch.arange(2), x, torch.zeros(2, dtype=torch.int64))],
            lambda z: Box(z, 0.1),
            Noting(asked),
            dtype=dtype,
        )
    )
    (what,) = asked
    assert what.network.dtype == what.input_set.centre.dtype == what.prop.C.dtype == (dtype or torch.float32)


@pytest.mark.parametrize("order", [1, -1])
def test_of_cells_of_which_one_was_not_bounded_no_margin_is_known(order: int) -> None:
    """Whatever their order: the least of numbers among which one is NaN depends on it."""
    cells = [Verdict("unknown", margin, "ibp", "", 1.0) for margin in (0.5, math.nan, 0.25)][::order]
    before = Verdict("unknown", math.nan, "attack", "", 2.0)
    whole = _together(cells, before)
    assert math.isnan(whole.margin)
    assert (whole.status, whole.seconds) == ("unknown", 5.0)
    assert _together(cells[::2], before).margin == 0.25


def test_the_ladders_seed_decides_where_its_attack_starts() -> None:
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    x = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    what = Problem(Network.capture(module, (2,)).prepare(), LpBall(x, 0.3), robust(torch.zeros(3, dtype=torch.int64), 2))

    def found(seed: int) -> list[float]:
        attack = PGD(steps=1, step_size=1e-6, start="random")
        return [v.stats["attack"] for v in Ladder(steps=("attack",), attack=attack, seed=seed)(what, Budget())]

    assert found(1) == found(1)
    assert found(1) != found(2)
