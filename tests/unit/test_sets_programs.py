"""What a polytope's programs and a transform's cells give away to rounding, and that nothing is known of what is not finite."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from epsball.forms.rows import Rows
from epsball.problem.sets import Box, Geometric, Photometric, Polytope
from epsball.problem.sets.programs import System, _dual, least


def system(A: list[list[float]], b: list[float], low: float = -1.0, high: float = 1.0) -> System:
    size = len(A[0])
    return System(np.array(A), np.array(b), np.full(size, low), np.full(size, high))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_of_a_form_that_is_not_finite_nothing_is_known(wrong: float) -> None:
    found, point = least(system([[1.0, 1.0]], [1.0]), np.array([1.0, wrong]), 0.0)
    assert found == -math.inf
    assert point.tolist() == [0.0, 0.0]
    whole = Polytope(torch.ones(1, 2), torch.ones(1), Box(torch.zeros(1, 2), 1.0))
    bounds = whole.minimise(Rows(torch.tensor([[[1.0, wrong]], [[1.0, 0.0]]])))
    assert not bool(bounds[0] > -math.inf)
    assert float(bounds[1]) == pytest.approx(-1.0, abs=1e-6)


def rational_dual(what: System, a: np.ndarray, y: np.ndarray, slack: float) -> Fraction:
    columns = [[Fraction(v) for v in column] for column in what.A.T.tolist()]
    weights, total = [Fraction(v) for v in y.tolist()], Fraction(0)
    for start, column, low, high in zip(a.tolist(), columns, what.lower.tolist(), what.upper.tolist(), strict=True):
        reduced = Fraction(start) + sum(p * q for p, q in zip(column, weights, strict=True))
        total += reduced * (Fraction(low) if reduced > 0 else Fraction(high))
    return total - sum(w * (Fraction(e) + Fraction(slack)) for w, e in zip(weights, what.b.tolist(), strict=True))


@pytest.mark.parametrize("size", [1.0, 1e4, 1e9])
def test_any_multipliers_prove_what_they_prove_in_rationals(size: float) -> None:
    """Also where the constraints' own sum cancels: what is left is small, and its error is not."""
    draw = np.random.default_rng(0)
    worst = Fraction(0)
    for _ in range(300):
        rows = draw.normal(size=(2, 4))
        rows = np.vstack((rows, -rows + 1e-3 * draw.normal(size=rows.shape) / size))
        y = size * np.tile(draw.uniform(0.5, 1, 2), 2)
        what, a = System(rows, np.zeros(4), -np.ones(4), np.ones(4)), draw.normal(size=4)
        found, exact = Fraction(_dual(what, a, y, 1e-9)), rational_dual(what, a, y, 1e-9)
        assert found <= exact
        worst = max(worst, exact - found)
    assert worst <= 1e-12 * size + 1e-12, "and gives away roundings only"


def test_a_transforms_cells_leave_room_for_rounding() -> None:
    """A cell of one point: what its lines leave on either side is what both stages give away, 1e-9 each."""
    x = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for p in ((0.0, 0.0, 0.0), (3.0, 0.25, -0.3)):
        at = torch.tensor([p, p], dtype=torch.float64)
        constant, lines = Geometric(pieces=4).bounds(x, at, at)
        picture = Geometric(pieces=4).apply(x, at)
        along = (lines.slope * at[:, :, None, None, None]).sum(1)
        for room in (along + lines.high - picture, picture - along - lines.low):
            assert 1.9e-9 <= float(room.min()) <= float(room.max()) <= 1e-8
        assert float((constant.upper - picture).min()) >= 0.9e-9
        assert float((picture - constant.lower).min()) >= 0.9e-9
    at = torch.tensor([[0.1, 0.05]] * 2, dtype=torch.float64)
    photometric = Photometric((0.0, 1.0))
    constant, lines = photometric.bounds(x, at, at)
    picture = photometric.apply(x, at)
    along = (lines.slope * at[:, :, None, None, None]).sum(1)
    assert bool((along + lines.low <= picture).all())
    assert bool((picture <= along + lines.high).all())
    assert bool(constant.contains(picture).all())
