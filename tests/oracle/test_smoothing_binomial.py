"""Clopper-Pearson and the abstention test against scipy.stats; coverage by exact summation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, binomtest

from epsball.errors import BadConfig
from epsball.proportion import lower_bound, upper_bound
from epsball.smoothing.statistics.binomial import abstains, ceiling, p_value, two_sided


@pytest.mark.parametrize("trials", [1, 2, 10, 100, 1000, 100_000])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001])
def test_bounds_equal_scipy(trials, alpha):
    for share in (0.0, 0.1, 0.5, 0.9, 0.999, 1.0):
        count = round(share * trials)
        exact = binomtest(count, trials, alternative="greater").proportion_ci(1 - alpha, method="exact")
        assert lower_bound(count, trials, alpha) == pytest.approx(exact.low, abs=1e-12)
        exact = binomtest(count, trials, alternative="less").proportion_ci(1 - alpha, method="exact")
        assert upper_bound(count, trials, alpha) == pytest.approx(exact.high, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(1, 0), (3, 3), (60, 40), (51, 49), (100, 0), (5000, 4800), (40, 60)])
def test_p_value_equals_scipy(first, second):
    assert p_value(first, second) == pytest.approx(binomtest(first, first + second).pvalue, rel=1e-9)


def test_abstention_is_two_sided():
    # 16 of 20: the one-sided p-value is .0059, the two-sided one .0118
    assert abstains(16, 4, 0.01)
    assert not abstains(16, 4, 0.0119)


@pytest.mark.parametrize(("trials", "sigmas"), [(10_000, 3.199), (100_000, 3.811), (1_000_000, 4.347)])
def test_radius_of_all_successes(trials, sigmas):
    assert float(ndtri(lower_bound(trials, trials, 0.001))) == pytest.approx(sigmas, abs=5e-4)
    assert ceiling(trials, 0.001) == pytest.approx(lower_bound(trials, trials, 0.001), abs=1e-15)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.84, 0.999])
def test_coverage_is_exact_or_better(p):
    trials, alpha = 200, 0.01
    wrong = [k for k in range(trials + 1) if lower_bound(k, trials, alpha) > p]
    assert binom.pmf(wrong, trials, p).sum() <= alpha


def test_two_sided_holds_for_the_largest_other_count():
    """Two classes share what the first leaves: bounding one chosen beforehand would be wrong, the larger of both is right."""
    rng = np.random.default_rng(0)
    p, alpha, trials = (0.5, 0.25, 0.25), 0.1, 300
    wrong = 0
    for counts in rng.multinomial(trials, p, size=4000):
        low, high = two_sided(counts[0], max(counts[1], counts[2]), trials, alpha)
        wrong += low > p[0] or high < p[1]
    assert wrong / 4000 <= alpha


def test_two_sided_beats_one_sided_only_below_one_half():
    low, high = two_sided(450, 300, 1000, 0.001)
    assert low < 0.5
    assert low > high
    low, high = two_sided(990, 10, 1000, 0.001)
    assert high <= 1 - low


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan"), 2.0])
def test_alpha_outside_is_an_error(alpha):
    with pytest.raises(BadConfig, match="alpha"):
        lower_bound(5, 10, alpha)


def test_impossible_counts_are_an_error():
    with pytest.raises(BadConfig, match="11 successes of 10"):
        lower_bound(11, 10, 0.01)
