"""Exact limits of a proportion (Clopper and Pearson 1934)."""

from __future__ import annotations

import math

from scipy.special import betaincinv

from epsball.errors import BadConfig


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a proportion of which `count` out of `total` were seen; (0, 1) for a total of 0.

    Raises:
        BadConfig: count outside 0..total, or a confidence outside (0, 1).
    """
    if not 0 <= count <= total or not 0 < confidence < 1:
        raise BadConfig(
            f"no interval for {count} of {total} at a confidence of {confidence}",
            fix="give 0 <= count <= total and a confidence in (0, 1)",
        )
    tail = (1 - confidence) / 2
    return lower_bound(count, total, tail), upper_bound(count, total, tail)


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


def _check_counts(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials:
        raise BadConfig(f"{successes} successes of {trials} trials", fix="counts are 0 <= successes <= trials")
