"""Contracts of every set: samples inside, minima below all of them and attained, halves that cover, projections that stay."""

from __future__ import annotations

import pytest
import torch

from epsball.forms.rows import Rows
from epsball.problem.sets import InputSet
from set_zoo import PARAMETRISED, SETS, pictures

EVERY = SETS | PARAMETRISED

SLACK = {torch.float32: 2e-5, torch.float64: 1e-8}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def _points(input_set: InputSet, count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    centre = input_set.centre
    far = centre + 2 * torch.randn(centre.shape, generator=generator, dtype=centre.dtype)
    return torch.stack([input_set.sample(generator) for _ in range(count)] + [centre, input_set.project(far)])


def _rows(input_set: InputSet, count: int = 4) -> torch.Tensor:
    x = input_set.centre
    return torch.randn(count, *x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)


def _distance(input_set: InputSet, x: torch.Tensor) -> torch.Tensor:
    return (input_set.project(x) - x).flatten(1).abs().amax(1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_samples_and_centre_lie_inside(kind, dtype):
    input_set = EVERY[kind](pictures(dtype=dtype))
    assert isinstance(input_set, InputSet)
    hull = input_set.hull()
    for point in _points(input_set):
        assert point.dtype == dtype
        assert float(_distance(input_set, point).max()) <= SLACK[dtype]
        assert bool(hull.contains(point, slack=SLACK[dtype] / 10).all())


@pytest.mark.parametrize("kind", EVERY)
def test_projecting_twice_is_projecting_once(kind, dtype):
    input_set = EVERY[kind](pictures(dtype=dtype))
    generator = torch.Generator().manual_seed(3)
    for scale in (0.01, 0.3, 3.0):
        x = input_set.centre
        once = input_set.project(x + scale * torch.randn(x.shape, generator=generator, dtype=dtype))
        slack = 8 * torch.finfo(dtype).eps * (1 + once.abs())  # what an attack allows before it calls this a defect
        assert bool(((input_set.project(once) - once).abs() <= slack).all())


@pytest.mark.parametrize("kind", SETS)
def test_no_point_is_below_the_minimum_and_one_attains_it(kind, dtype):
    input_set = SETS[kind](pictures(dtype=dtype))
    rows = _rows(input_set).requires_grad_()
    least = input_set.minimise(Rows(rows))
    points = _points(input_set)
    values = torch.einsum("pqn,sqn->spq", rows.detach().flatten(2), points.flatten(2))
    assert bool((least.detach() <= values.amin(0) + SLACK[dtype]).all())
    (where,) = torch.autograd.grad(least.sum(), rows)
    for point in where:
        assert float(_distance(input_set, point).max()) <= 50 * SLACK[dtype]
    attained = (rows.detach() * where).flatten(2).sum(2)
    torch.testing.assert_close(attained, least.detach(), atol=100 * SLACK[dtype], rtol=1e-5)


@pytest.mark.parametrize("kind", SETS)
def test_the_hull_is_the_smallest_box(kind):
    """Its ends are the minima of the forms x_i and -x_i."""
    input_set = SETS[kind](pictures(1))
    x = input_set.centre
    size = x[0].numel()
    unit = torch.eye(size, dtype=x.dtype).view(size, 1, *x.shape[1:])
    hull = input_set.hull()
    torch.testing.assert_close(hull.lower.flatten(), input_set.minimise(Rows(unit))[:, 0], atol=1e-7, rtol=0)
    torch.testing.assert_close(hull.upper.flatten(), -input_set.minimise(Rows(-unit))[:, 0], atol=1e-7, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("axis", [0, 7])
def test_halves_cover_the_set_and_nothing_else(kind, axis, dtype):
    input_set = SETS[kind](pictures(dtype=dtype))
    halves = input_set.split(axis)
    for point in _points(input_set):
        apart = torch.stack([_distance(half, point) for half in halves]).amin(0)
        assert float(apart.max()) <= SLACK[dtype]
    for half in halves:
        for point in _points(half, 3):
            assert float(_distance(input_set, point).max()) <= SLACK[dtype]
    rows = Rows(_rows(input_set))
    both = torch.minimum(halves[0].minimise(rows), halves[1].minimise(rows))
    torch.testing.assert_close(both, input_set.minimise(rows), atol=50 * SLACK[dtype], rtol=1e-5)


@pytest.mark.parametrize("kind", SETS)
def test_repeated_halves_keep_covering(kind):
    """Several cuts of one axis and then others, following one point."""
    whole = SETS[kind](pictures(1))
    point = whole.sample(torch.Generator().manual_seed(4))
    part: InputSet = whole
    for axis in (3, 3, 3, 1, 8, 1):
        halves = part.split(axis)
        part = min(halves, key=lambda half: float(_distance(half, point)))
        assert float(_distance(part, point)) <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_some_samples_are_their_own_sets(kind):
    input_set = EVERY[kind](pictures())
    index = torch.tensor([2, 0, 2])
    taken = input_set.take(index)
    rows = _rows(input_set)
    torch.testing.assert_close(taken.minimise(Rows(rows[:, index])), input_set.minimise(Rows(rows))[:, index])
    torch.testing.assert_close(taken.centre, input_set.centre[index])
    torch.testing.assert_close(taken.hull().lower, input_set.hull().lower[index])


@pytest.mark.parametrize("kind", EVERY)
def test_ragged_rows_meet_the_sample_they_name(kind):
    input_set = EVERY[kind](pictures())
    rows = _rows(input_set)
    sample = torch.tensor([1, 1, 0, 2])
    got = input_set.minimise(Rows(rows[:, sample], sample))
    torch.testing.assert_close(got, input_set.minimise(Rows(rows))[:, sample])


@pytest.mark.parametrize("kind", EVERY)
def test_a_set_in_another_precision_holds_the_same_points(kind):
    input_set = EVERY[kind](pictures())
    single = input_set.to(torch.float32, torch.device("cpu"))
    assert single.centre.dtype == torch.float32
    rows = _rows(input_set)
    wide, exact = single.minimise(Rows(rows.float())).double(), input_set.minimise(Rows(rows))
    assert bool((wide <= exact + 2e-5).all())
    assert float((wide - exact).abs().max()) < 1e-3
    for point in _points(input_set, 4):
        assert float(_distance(single, point.float()).max()) <= SLACK[torch.float32]
    if input_set.is_box:
        assert bool((single.hull().lower.double() <= input_set.hull().lower).all())
        assert bool((single.hull().upper.double() >= input_set.hull().upper).all())


@pytest.mark.parametrize("kind", EVERY)
def test_a_generator_decides_the_sample(kind):
    input_set = EVERY[kind](pictures())
    state = torch.get_rng_state()
    draws = [input_set.sample(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(draws[0], draws[1])
    assert kind == "point" or not torch.equal(draws[0], draws[2])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("kind", PARAMETRISED)
def test_no_picture_is_below_the_bound(kind, dtype):
    input_set = PARAMETRISED[kind](pictures(dtype=dtype))
    rows = _rows(input_set)
    least = input_set.minimise(Rows(rows))
    values = torch.stack([Rows(rows).dot(point) for point in _points(input_set)])
    assert bool((least <= values.amin(0) + SLACK[dtype]).all())
