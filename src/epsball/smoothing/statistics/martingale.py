"""The mixture martingale of Krichevsky and Trofimov: evidence against "p <= p_0" that may be looked at any time.

    M_N = B(A + 1/2, N - A + 1/2) / B(1/2, 1/2) * p_0^-A (1 - p_0)^-(N - A)

At p = p_0 it is a martingale of mean 1, so it ever reaches 1/alpha with probability at most alpha (Ville's inequality). For
p < p_0 the same holds of the event "M_N >= 1/alpha and A/N > p_0", which grows with the path.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from epsball.smoothing.statistics.boundary import Counts, Probabilities

_PRIOR = float(betaln(0.5, 0.5))


def log_evidence(hits: Counts, samples: Counts, p: float) -> Probabilities:
    """Log M_N: convex in the hits, and at most 0 at hits = samples * p."""
    mixture = betaln(hits + 0.5, samples - hits + 0.5) - _PRIOR
    evidence: Probabilities = mixture - xlogy(hits, p) - xlog1py(samples - hits, -p)
    return evidence


def least_above(looks: Counts, p: float, threshold: float) -> Counts:
    """At each look the least count of hits above `looks * p` with log evidence of at least the threshold, else looks + 1."""
    low, high = np.floor(looks * p).astype(np.int64), looks + 1  # evidence is too small at low, and high is the answer or "never"
    while np.any(high - low > 1):
        middle = (low + high) // 2
        enough = log_evidence(np.minimum(middle, looks), looks, p) >= threshold
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def most_below(looks: Counts, p: float, threshold: float) -> Counts:
    """At each look the largest count of hits below `looks * p` with log evidence of at least the threshold, else -1."""
    return looks - least_above(looks, 1 - p, threshold)


def lower_bound(hits: int, samples: int, alpha: float) -> float:
    """The least p <= hits / samples whose evidence is below 1/alpha: all of them together hold with probability 1 - alpha.

    Rounded downwards: the end of the bisection with too much evidence is returned.
    """
    if hits == 0:
        return 0.0
    mixture = float(betaln(hits + 0.5, samples - hits + 0.5)) - _PRIOR - math.log(1 / alpha)
    low, high = 0.0, hits / samples
    for _ in range(60):
        middle = (low + high) / 2
        misses = (samples - hits) * math.log1p(-middle) if hits < samples else 0.0
        if middle > 0 and mixture - hits * math.log(middle) - misses < 0:
            high = middle
        else:
            low = middle
    return low
