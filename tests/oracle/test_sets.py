"""Every set's minimum and projection against cvxpy; ends that rounding cannot shrink."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.rows import Rows
from epsball.problem.sets import Box, LpBall

D = 6
_a, _c, _lo, _hi, _t, _eps = (
    cp.Parameter(D),
    cp.Parameter(D),
    cp.Parameter(D),
    cp.Parameter(D),
    cp.Parameter(D),
    cp.Parameter(nonneg=True),
)
_v = cp.Variable(D)
_inside = [_v >= _lo, _v <= _hi]
_balls = {norm: cp.norm(_v - _c, p) <= _eps for norm, p in (("linf", "inf"), ("l2", 2), ("l1", 1))}
_least = {k: cp.Problem(cp.Minimize(_a @ _v), [*_inside, ball]) for k, ball in _balls.items()}
_nearest = {k: cp.Problem(cp.Minimize(cp.sum_squares(_v - _t)), [*_inside, ball]) for k, ball in _balls.items()}


def _cases(seed: int, count: int, widest: float):
    """Radii up to `widest`: a linf ball wider than the valid range is refused."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x = rng.random(D)
        eps = min(widest, float(rng.choice([0.0, 0.01, 0.1, 0.5, 1.5, 3.0])))
        a = rng.normal(size=D) * rng.choice([0.0, 1.0, 1.0, 10.0], size=D)
        x[rng.random(D) < 0.2] = rng.choice([0.0, 1.0])
        yield x, eps, a, rng.normal(size=D)


@pytest.mark.parametrize("clip", [None, (0.0, 1.0)], ids=["uncut", "cut"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_minimise_is_exact_on_random_cases(norm, clip):
    for x, eps, a, _ in _cases(0, 120, 1.0 if norm == "linf" and clip else 3.0):
        ball = LpBall(torch.tensor(x)[None], eps, norm, clip)
        got = float(ball.minimise(Rows(torch.tensor(a)[None, None])))
        _a.value, _c.value, _eps.value = a, x, eps
        _lo.value, _hi.value = (np.full(D, -1e3), np.full(D, 1e3)) if clip is None else (np.zeros(D), np.ones(D))
        want = _least[norm].solve(solver=cp.CLARABEL)
        assert got == pytest.approx(want, abs=2e-6)
        assert got <= want + 2e-6


def test_minimise_of_a_box_is_exact_on_random_cases():
    rng = np.random.default_rng(1)
    for _ in range(250):
        x, radius, a = rng.random(D), rng.random(D) * 0.4, rng.normal(size=D)
        box = Box(torch.tensor(x)[None], torch.tensor(radius), clip=(0.0, 1.0))
        _a.value, _c.value, _eps.value = a, x, 10.0
        _lo.value, _hi.value = np.maximum(x - radius, 0), np.minimum(x + radius, 1)
        got = float(box.minimise(Rows(torch.tensor(a)[None, None])))
        assert got == pytest.approx(_least["linf"].solve(solver=cp.CLARABEL), abs=2e-6)


@pytest.mark.parametrize("clip", [None, (0.0, 1.0)], ids=["uncut", "cut"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_project_is_the_nearest_point(norm, clip):
    for x, eps, _, move in _cases(2, 60, 1.0 if norm == "linf" and clip else 3.0):
        ball = LpBall(torch.tensor(x)[None], eps, norm, clip)
        got = ball.project(torch.tensor(x + move)[None])[0].numpy()
        _t.value, _c.value, _eps.value = x + move, x, eps
        _lo.value, _hi.value = (np.full(D, -1e3), np.full(D, 1e3)) if clip is None else (np.zeros(D), np.ones(D))
        _nearest[norm].solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(got, _v.value, atol=2e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_samples_projections_and_halves_lie_inside(norm):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 2, 3, generator=generator)
    ball = LpBall(x, 0.3, norm, (0.0, 1.0))
    p = {"linf": float("inf"), "l2": 2, "l1": 1}[norm]
    for point in (ball.sample(generator), ball.project(x + torch.randn(x.shape, generator=generator))):
        assert float((point - x).flatten(1).norm(p, dim=1).max()) <= 0.3 * (1 + 1e-6)
        assert float(point.min()) >= 0
        assert float(point.max()) <= 1
    if norm == "linf":
        left, right = ball.split(4)
        assert torch.equal(left.hull().lower, ball.hull().lower)
        assert torch.equal(right.hull().upper, ball.hull().upper)
        assert torch.equal(left.hull().upper.flatten(1)[:, 4], right.hull().lower.flatten(1)[:, 4])


def test_a_float32_box_holds_every_exact_point():
    x = torch.rand(10_000, 8, generator=torch.Generator().manual_seed(0))
    box = Box(x, 8 / 255)
    assert bool((box.lower.double() <= x.double() - 8 / 255).all())
    assert bool((box.upper.double() >= x.double() + 8 / 255).all())
    assert float((box.upper - x).max()) < 8 / 255 * (1 + 1e-5)


def test_conversion_to_float32_grows_outwards():
    box = Box(torch.rand(100, 8, dtype=torch.float64), 0.1)
    single = box.to(torch.float32, torch.device("cpu"))
    assert bool((single.lower.double() <= box.lower).all())
    assert bool((single.upper.double() >= box.upper).all())


X = torch.full((2, 3), 0.5)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: LpBall(X, -0.1), BadConfig, "at least 0"),
        (lambda: LpBall(X, float("nan")), BadConfig, "finite"),
        (lambda: LpBall(X, 0.1, "l7"), BadConfig, "use linf, l2, l1, l0"),
        (lambda: LpBall(X + 1, 0.1, clip=(0.0, 1.0)), BadData, "outside the valid range"),
        (lambda: Box(X * float("nan"), 0.1), BadData, "NaN"),
        (lambda: Box(X, torch.tensor([0.1, -0.1, 0.2])), BadData, "negative"),
        (lambda: Box(X, torch.rand(4)), BadShape, "one radius for each feature"),
        (lambda: Box(X.long(), 0.1), BadShape, "floating-point"),
        (lambda: Box.between(X, X - 1), BadData, "inverted"),
        (lambda: Box(X, 0.1, clip=(1.0, 0.0)), BadConfig, "empty"),
    ],
)
def test_bad_sets_say_what_is_wrong(make, kind, says):
    with pytest.raises(kind, match=says):
        make()
