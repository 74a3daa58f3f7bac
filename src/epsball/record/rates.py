"""Shares with their exact 95 % interval, as lines hold them."""

from __future__ import annotations

from epsball.proportion import clopper_pearson
from epsball.record.lines import Rate


def rate(hits: int, count: int) -> Rate:
    """A share of `count`; of nothing, 0 with an interval of [0, 1].

    Raises:
        BadConfig: hits outside 0..count.
    """
    low, high = clopper_pearson(hits, count)
    return Rate(value=hits / count if count else 0.0, low=low, high=high)
