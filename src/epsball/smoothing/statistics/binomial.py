"""Bounds of several proportions at once, and the test by which PREDICT abstains.

Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, arXiv:1902.02918.
"""

from __future__ import annotations

import math

from scipy.special import bdtr, bdtrc

from epsball.proportion import check_alpha, lower_bound, upper_bound


def ceiling(trials: int, alpha: float) -> float:
    """The lower bound when every trial succeeds, `alpha ** (1 / trials)`: no count of that many trials proves more."""
    return math.exp(math.log(check_alpha(alpha)) / trials)


def two_sided(first: int, other: int, trials: int, alpha: float) -> tuple[float, float]:
    """Bounds (p_A from below, p_B from above) that hold together with probability at least 1 - alpha.

    Each spends alpha / 2. This is sound because `other` is the largest count among *all* other classes of the sample that is
    estimated from: whichever class is the true runner-up, its count is at most that. A runner-up that was fixed on another
    sample would not be enough. That all probabilities sum to 1 costs nothing, so p_B is at most 1 - p_A.

    Args:
        first: the count of the class chosen on a separate sample.
        other: the largest count among all other classes of this sample.
        trials: size of this sample.
        alpha: probability that either bound is wrong.
    """
    lower = lower_bound(first, trials, alpha / 2)
    return lower, min(upper_bound(other, trials, alpha / 2), 1 - lower)


def p_value(first: int, second: int) -> float:
    """The two-sided exact binomial test that `first` of `first + second` fair trials succeeded."""
    trials = first + second
    most = max(first, second)
    if 2 * most == trials:
        return 1.0
    return float(bdtr(trials - most, trials, 0.5) + bdtrc(most - 1, trials, 0.5))


def abstains(first: int, second: int, alpha: float) -> bool:
    """Whether PREDICT abstains: the two largest counts could come from equally likely classes."""
    return p_value(first, second) > check_alpha(alpha)
