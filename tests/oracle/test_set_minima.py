"""Minima and projections of the newer sets against cvxpy (convex ones) and against every point there is (the others)."""

from __future__ import annotations

import itertools
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.rows import Rows
from epsball.problem.sets import Box, LpBall, Patch, Polytope, Product, WordSubstitution
from epsball.problem.sets.words import enumerate_sentences
from set_zoo import UNIT, polytope, product, sentence

F64 = torch.float64


def _seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def _random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_halves_of_a_ball_are_minimised_and_projected_exactly(norm):
    """Cut where the centre is left out, so that some of the radius is spent already."""
    x, eps = _seeded(1, 6), 0.9
    half = LpBall(x, eps, norm, UNIT).split(1)[1].split(1)[1].split(4)[0].split(4)[0]
    low, high = (end[0].numpy() for end in half.cut)
    v = cp.Variable(6)
    inside = [v >= low, v <= high, cp.norm(v - x[0].numpy(), 2 if norm == "l2" else 1) <= eps]
    for seed in range(15):
        a, t = _random(6, seed=seed), _random(6, seed=seed + 100)
        want = cp.Problem(cp.Minimize(a.numpy() @ v), inside).solve(solver=cp.CLARABEL)
        got = float(half.minimise(Rows(a.view(1, 1, 6))))
        assert got == pytest.approx(want, abs=1e-6)
        cp.Problem(cp.Minimize(cp.sum_squares(v - t.numpy())), inside).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(half.project(t[None])[0].numpy(), v.value, atol=2e-4)


def test_a_polytope_is_minimised_and_projected_exactly():
    whole = polytope(_seeded(2, 5), 3)
    for sample in range(2):
        A, b, box = whole.A.numpy(), whole.b[sample].numpy(), whole.box.hull()
        v = cp.Variable(5)
        inside = [A @ v <= b, v >= box.lower[sample].numpy(), v <= box.upper[sample].numpy()]
        for seed in range(15):
            a, t = _random(2, 5, seed=seed), _random(2, 5, seed=seed + 100)
            want = cp.Problem(cp.Minimize(a[sample].numpy() @ v), inside).solve(solver=cp.CLARABEL)
            got = float(whole.minimise(Rows(a[None]))[0, sample])
            assert got == pytest.approx(want, abs=1e-6)
            assert got <= want + 1e-7
            cp.Problem(cp.Minimize(cp.sum_squares(v - t[sample].numpy())), inside).solve(solver=cp.CLARABEL)
            np.testing.assert_allclose(whole.project(t)[sample].numpy(), v.value, atol=2e-4)


def test_a_polytope_without_inside_is_one_too():
    """An equation as two inequalities: the sum of the features stays."""
    x = _seeded(1, 4)
    ones = torch.ones(1, 4, dtype=F64)
    total = x.sum()[None]
    flat = Polytope(torch.cat((ones, -ones)), torch.cat((total, -total)), Box(x, 0.2, UNIT))
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([flat.sample(generator) for _ in range(10)])
    torch.testing.assert_close(points.sum(1), total.expand(10), atol=1e-8, rtol=0)
    assert float((points - x).abs().max()) > 0.01
    a = _random(4)
    v = cp.Variable(4)
    ends = flat.box.hull()
    inside = [cp.sum(v) == float(total), v >= ends.lower[0].numpy(), v <= ends.upper[0].numpy()]
    want = cp.Problem(cp.Minimize(a.numpy() @ v), inside).solve(solver=cp.CLARABEL)
    assert float(flat.minimise(Rows(a.view(1, 1, 4)))) == pytest.approx(want, abs=1e-6)


def test_a_bound_holds_whatever_the_solver_says(monkeypatch):
    """Multipliers that are wrong give a lower bound all the same."""
    from epsball.problem.sets import programs

    whole = polytope(_seeded(1, 5), 3)
    a = _random(1, 1, 5)
    exact = float(whole.minimise(Rows(a)))
    dual = programs._dual
    noise = np.random.default_rng(0)
    for _ in range(20):
        monkeypatch.setattr(programs, "_dual", lambda s, c, y, slack: dual(s, c, np.abs(y + noise.normal(size=len(y))), slack))
        assert float(whole.minimise(Rows(a))) <= exact + 1e-12


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_an_l0_ball_against_every_choice_of_features(count):
    x, a, t = _seeded(1, 4), _random(1, 4), _random(1, 4, seed=2)
    ball = LpBall(x, count, "l0", UNIT)
    least, nearest = float("inf"), None
    for chosen in itertools.combinations(range(4), count):
        corner, point = x.clone(), x.clone()
        for i in chosen:
            corner[0, i] = 0.0 if a[0, i] > 0 else 1.0
            point[0, i] = t[0, i].clamp(0, 1)
        least = min(least, float((a * corner).sum()))
        if nearest is None or (t - point).norm() < (t - nearest).norm():
            nearest = point
    assert float(ball.minimise(Rows(a[None]))) == pytest.approx(min(least, float((a * x).sum())), abs=1e-12)
    torch.testing.assert_close(ball.project(t), nearest)


def _places(size: int, height: int, width: int):
    for row, column in itertools.product(range(height - size + 1), range(width - size + 1)):
        square = torch.zeros(height, width, dtype=torch.bool)
        square[row : row + size, column : column + size] = True
        yield square


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_patch_against_every_position(size):
    x, a, t = _seeded(1, 2, 4, 3), _random(1, 2, 4, 3), _random(1, 2, 4, 3, seed=2)
    patch = Patch(x, size)
    ends = torch.where(a > 0, 0.0, 1.0).to(F64)
    corners = [torch.where(square, ends, x) for square in _places(size, 4, 3)]
    least = min(float((a * corner).sum()) for corner in corners)
    assert float(patch.minimise(Rows(a[None]))) == pytest.approx(least, abs=1e-12)
    points = [torch.where(square, t.clamp(0, 1), x) for square in _places(size, 4, 3)]
    nearest = min(points, key=lambda p: float((t - p).norm()))
    torch.testing.assert_close(patch.project(t), nearest)


def test_a_half_of_a_patch_against_every_position():
    x, a = _seeded(1, 1, 4, 4), _random(1, 1, 4, 4)
    for half, keeps in zip(Patch(x, 2).split(5), (lambda v: v <= x.flatten()[5], lambda v: v >= x.flatten()[5]), strict=True):
        least = float("inf")
        for square in _places(2, 4, 4):
            for end in (0.0, 1.0, float(x.flatten()[5])):
                corner = torch.where(square, torch.where(a > 0, 0.0, 1.0).to(F64), x)
                if square.flatten()[5]:
                    corner.view(-1)[5] = end
                if keeps(corner.flatten()[5]):
                    least = min(least, float((a * corner).sum()))
        assert float(half.minimise(Rows(a[None]))) == pytest.approx(least, abs=1e-12)


def test_a_product_is_minimised_part_by_part():
    whole = product(_seeded(2, 9))
    a, t = _random(1, 2, 9), _random(2, 9, seed=3)
    least = sum(part.minimise(Rows(a[:, :, index])) for index, part in whole.parts)
    torch.testing.assert_close(whole.minimise(Rows(a)), least)
    for index, part in whole.parts:
        torch.testing.assert_close(whole.project(t)[:, index], part.project(t[:, index]))
    torch.testing.assert_close(whole.centre, _seeded(2, 9))


@pytest.mark.parametrize("budget", [None, 0, 1, 2])
def test_sentences_against_every_substitution(budget):
    like = sentence(_seeded(3, 24))
    whole = WordSubstitution(like.embedding, like.tokens, like.synonyms, budget)
    rows, t = _random(5, 3, 6, 4), _random(3, 6, 4, seed=2)
    for i in range(3):
        one = whole.take(torch.tensor([i]))
        sentences = enumerate_sentences(one)
        assert len(sentences) == len({tuple(s) for s in sentences.tolist()}) == int(one.count()[0])
        changed = (sentences != whole.tokens[i]).sum(1)
        assert budget is None or int(changed.max()) <= budget
        points = whole.embedding[sentences]
        every = torch.einsum("pld,nld->pn", rows[:, i], points)
        torch.testing.assert_close(whole.minimise(Rows(rows))[:, i], every.amin(1))
        nearest = (points - t[i]).flatten(1).norm(dim=1).argmin()
        assert torch.equal(whole.nearest_words(t)[i], sentences[nearest])
        torch.testing.assert_close(whole.hull().lower[i], points.amin(0))
        torch.testing.assert_close(whole.hull().upper[i], points.amax(0))


X = torch.full((2, 3), 0.5)
P = torch.full((1, 1, 4, 4), 0.5)
E, T = torch.rand(5, 2), torch.tensor([[0, 1, 2]])
HALF = torch.tensor([[1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: LpBall(X, 2, "l0"), BadConfig, "valid range"),
        (lambda: LpBall(X, 1.5, "l0", UNIT), BadConfig, "whole number"),
        (lambda: LpBall(X, 0.1, "l2").split(3), BadConfig, "no axis 3"),
        (lambda: Patch(X, 2), BadShape, "pictures"),
        (lambda: Patch(P, 5), BadConfig, "5 x 5 patch on a 4 x 4"),
        (lambda: Patch(P + 1, 2), BadData, "outside the valid range"),
        (lambda: Patch(P, 2, None), BadConfig, "valid range"),
        (lambda: Polytope(HALF, torch.tensor([-1.0]), Box(X, 0.1)), BadData, "empty polytope"),
        (lambda: Polytope(0 * HALF, torch.tensor([-1.0]), Box(X, 0.1)), BadData, "empty polytope"),
        (lambda: Polytope(HALF[:, :2], torch.tensor([1.0]), Box(X, 0.1)), BadShape, "3 features"),
        (lambda: Polytope(HALF * float("nan"), torch.tensor([1.0]), Box(X, 0.1)), BadData, "NaN"),
        (lambda: Box.between(X, X + float("inf")), BadData, "infinity"),
        (lambda: Box.between(X, X[:1]), BadShape, "both ends"),
        (lambda: Box.between(X * float("nan"), X), BadData, "NaN"),
        (lambda: Product((3,), [(torch.tensor([0, 1]), Box(X[:, :2], 0.1))]), BadConfig, "2 features of 3"),
        (lambda: Product((3,), [(torch.tensor([0, 1]), Box(X, 0.1))]), BadShape, "one flat feature number"),
        (lambda: Product((3,), []), BadConfig, "without parts"),
        (lambda: WordSubstitution(E, T, {1: [7]}), BadData, "vocabulary"),
        (lambda: WordSubstitution(E, T + 3, {}), BadData, "vocabulary"),
        (lambda: WordSubstitution(E, T.float(), {}), BadShape, "integer tokens"),
        (lambda: WordSubstitution(E, T, {}, -1), BadConfig, "budget"),
        (lambda: enumerate_sentences(WordSubstitution(E, T, {0: [1, 2]}), limit=2), BadConfig, "more than 2"),
    ],
)  # fmt: skip
def test_bad_sets_say_what_is_wrong(make, kind, says):
    with pytest.raises(kind, match=says):
        make()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_form_of_one_feature_has_no_larger_minimum_than_the_exact_one(norm, dtype):
    """Around 0 its least value is `-eps |a|` exactly; a radius that rounding or a sign made smaller shows at once."""
    generator = torch.Generator().manual_seed(4)
    for eps in (0.1, 8 / 255, 1.7):
        size = torch.rand(200, generator=generator, dtype=torch.float64).to(dtype)
        rows = torch.zeros(200, 1, 3, dtype=dtype)
        rows[:, 0, 1] = size
        least = LpBall(torch.zeros(1, 3, dtype=dtype), eps, norm).minimise(Rows(rows))[:, 0]
        assert all(Fraction(float(v)) <= -Fraction(eps) * Fraction(float(a)) for v, a in zip(least, size, strict=True))
