"""The exact interval of a proportion (Clopper and Pearson 1934)."""

from __future__ import annotations

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
    low = float(betaincinv(count, total - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - tail)) if count < total else 1.0
    return low, high
