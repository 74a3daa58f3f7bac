"""Binomial proportions: Clopper-Pearson bounds, and the test by which PREDICT abstains.

Cohen, Rosenfeld, Kolter, "Certified adversarial robustness via randomized smoothing", ICML 2019, arXiv:1902.02918.
"""

from __future__ import annotations

import math

from scipy.special import bdtr, bdtrc, betaincinv

from epsball.errors import BadConfig


def check_alpha(alpha: float) -> float:
    """The same alpha, if it is a probability of error that leaves something to say.

    Raises:
        BadConfig: alpha is not inside (0, 1).
    """
    if not (math.isfinite(alpha) and 0 < alpha < 1):
        raise BadConfig(f"alpha must lie inside (0, 1), not {alpha}", fix="the field's choice is 0.001")
    return alpha


def lower_bound(successes: int, trials: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson bound: a proportion is at least this, with probability at least 1 - alpha.

    Args:
        successes: 0..trials.
        trials: independent trials; 0 gives the bound 0.
        alpha: probability of error, inside (0, 1).

    Raises:
        BadConfig: alpha outside (0, 1), or impossible counts.
    """
    _check_counts(successes, trials)
    check_alpha(alpha)
    return 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, alpha))


def upper_bound(successes: int, trials: int, alpha: float) -> float:
    """The one-sided Clopper-Pearson bound from above: minus the lower bound of the failures, from 1."""
    _check_counts(successes, trials)
    check_alpha(alpha)
    if successes == trials:
        return 1.0
    return float(betaincinv(successes + 1, trials - successes, 1 - alpha))


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


def _check_counts(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise BadConfig(f"{successes} successes of {trials} trials", fix="counts are 0 <= successes <= trials")
