"""Schedules: the published formula, its limits, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epsball.errors import BadConfig
from epsball.training.base import Progress
from epsball.training.schedule import Decay, Ramp, check_weight


def at(step: int, per_epoch: int = 10, steps: int = 1000) -> Progress:
    return Progress(step, steps, per_epoch)


def published(step: int, first: int, last: int, eps: float) -> float:
    """Section 2.0 of the method notes, word for word."""
    m = first + math.floor(0.25 * (last - first))
    beta = 4
    t = (m - first) ** (beta - 1)
    a = eps / ((last - m) * beta * t + (m - first) * t)
    if step < m:
        return a * (step - first) ** beta
    start = a * (m - first) ** beta
    return start + (eps - start) * (step - m) / (last - m)


@given(st.integers(0, 300), st.integers(4, 400), st.floats(1e-4, 1.0))
def test_smooth_is_the_published_formula(first: int, length: int, eps: float) -> None:
    ramp = Ramp(eps, warmup=first, ramp=length, shape="smooth")
    for step in {first, first + 1, first + length // 4, first + length // 2, first + length - 1}:
        assert ramp(at(step, per_epoch=1)) == pytest.approx(published(step, first, first + length, eps), rel=1e-9, abs=1e-15)


@pytest.mark.slow
@given(st.sampled_from(["linear", "smooth"]), st.floats(0, 20), st.floats(0, 20), st.integers(1, 37))
def test_a_ramp_rises_from_start_to_end(shape: str, warmup: float, ramp: float, per_epoch: int) -> None:
    schedule = Ramp(0.3, 0.1, warmup, ramp, shape)
    values = [schedule(at(step, per_epoch)) for step in range(40 * per_epoch + 3)]
    assert values[-1] == 0.3
    assert all(later >= earlier for earlier, later in pairwise(values))
    first, last = schedule.span(per_epoch)
    assert values[0] == (0.1 if last > 0 else 0.3)
    assert last == first or values[first] == 0.1
    assert values[last] == 0.3


def test_the_slope_of_smooth_is_continuous() -> None:
    ramp = Ramp(1.0, ramp=400, shape="smooth")
    steps = [ramp(at(s + 1, 1)) - ramp(at(s, 1)) for s in range(400)]
    assert max(b / a for a, b in pairwise(steps[90:])) < 1.05


def test_linear_is_halfway_at_half() -> None:
    assert Ramp(0.4, warmup=1, ramp=2)(at(20)) == pytest.approx(0.2)
    assert Ramp(0.5, 1.0, 1, 2)(at(20)) == pytest.approx(0.75)


def test_decay_at_milestones() -> None:
    rate = Decay(1e-3, 0.2, (5, 6.5))
    assert [rate(at(s)) for s in (0, 49, 50, 64, 65)] == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4, 4e-5])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ramp(0.1, warmup=-1),
        lambda: Ramp(0.1, ramp=math.nan),
        lambda: Ramp(math.inf),
        lambda: Ramp(0.1, shape="cubic"),
        lambda: Decay(0.0),
        lambda: Decay(1e-3, 1.5),
        lambda: Decay(1e-3, 0.2, (6, 5)),
        lambda: check_weight(1.5, "kappa"),
        lambda: check_weight(math.nan, "kappa"),
        lambda: Ramp(0.1, warmup=1, ramp=20).check(Progress(0, 200, 10)),
        lambda: Decay(1e-3, 0.2, (20,)).check(Progress(0, 200, 10)),
    ],
)
def test_refused(make) -> None:
    with pytest.raises(BadConfig):
        make()


def test_a_milestone_before_the_end_is_none_after_it_though_it_rounds_to_the_last_step() -> None:
    run = Progress(0, 4, 2)  # two epochs of two steps
    Decay(1.0, 0.5, (1.5, 1.8)).check(run)
    with pytest.raises(BadConfig, match="comes after"):
        Decay(1.0, 0.5, (2.0,)).check(run)
