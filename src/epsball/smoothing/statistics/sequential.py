"""Sequential procedures: evidence is looked at after every few blocks, and easy images are decided within a few hundred samples.

Both forms look at a mixture martingale before the cap and spend the rest of alpha on one last test at the cap. They differ in the
martingale's threshold: Ville's inequality holds for any looks; knowing the looks, the exact error is computed, and the threshold
lowered until the error is what was allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from epsball.errors import BadConfig
from epsball.proportion import check_alpha, lower_bound
from epsball.smoothing.statistics import martingale as mixture
from epsball.smoothing.statistics.boundary import Boundary, Counts
from epsball.smoothing.statistics.procedures import BLOCK, Sequence, Threshold, least_certifying, ledger, procedures

_SLACK = 1e-6  # of alpha: more than rounding and cut tails can change in the dynamic program


def geometric_looks(first: int, growth: float, cap: int) -> Counts:
    """Whole blocks, from `first` on and growing by a factor 1 + growth, then the cap."""
    looks, samples = [], float(max(first, BLOCK))
    while samples < cap:
        rounded = math.ceil(samples / BLOCK) * BLOCK
        if rounded < cap:
            looks.append(rounded)
        samples = max(rounded * (1 + growth), rounded + 1.0)
    return np.array([*looks, cap])


@dataclass(frozen=True, eq=False)
class MixtureMartingale:
    """Lower confidence sequence of the mixture before the cap, Clopper-Pearson at it.

    The running maximum is the caller's: all bounds hold together, so the largest one does.
    """

    looks: Counts
    running: float
    final: float
    tolerance: float

    @property
    def ledger(self) -> Mapping[str, float]:
        return ledger(sequence=self.running, final=self.final)

    def bounds(self, look: int, first: int, _other: int) -> tuple[float, float]:
        samples = int(self.looks[look])
        if look == len(self.looks) - 1:
            lower = lower_bound(first, samples, self.final)
        else:
            lower = mixture.lower_bound(first, samples, self.running)
        return lower, 1 - lower


@procedures.register("ville")
@dataclass(frozen=True)
class Ville:
    """The mixture martingale against 1/alpha, and a Clopper-Pearson bound at the cap (union bound).

    Attributes:
        cap: the most samples for one image.
        first: samples at the first look.
        growth: every further look has this share more samples.
        final: the part of alpha that is kept for the cap.
        give_up: nominal error of giving up, at any time: it costs power, never soundness. The bound is loose: against 0.01 the
            default loses at most .008 of the power (by dynamic programming), and images below the radius end sooner.
        tolerance: for the largest radius: stop when going on would gain less than this, in units of sigma.

    Paper:   Robbins 1970 and Voráček 2024 for the principle; Krichevsky and Trofimov 1981 for the mixture.
    """

    cap: int = 131_072
    first: int = BLOCK
    growth: float = 0.05
    final: float = 0.1
    give_up: float = 0.2
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if self.cap < 1 or self.first < 1 or not self.growth > 0:
            raise BadConfig(
                "a sequential procedure needs a cap and a first look of at least 1, and growth above 0", where=repr(self)
            )
        if not (0 < self.final < 1 and 0 < self.give_up < 1 and self.tolerance >= 0):
            raise BadConfig("final and give_up must lie inside (0, 1), tolerance must be at least 0", where=repr(self))

    def looks(self) -> Counts:
        """Samples at each look."""
        return geometric_looks(self.first, self.growth, self.cap)

    def at(self, p: float, alpha: float) -> Threshold:
        looks, running, final = self.looks(), (1 - self.final) * check_alpha(alpha), self.final * alpha
        certify = mixture.least_above(looks, p, math.log(1 / running))
        certify[-1] = least_certifying(self.cap, p, final)
        return Threshold(Boundary(p, looks, certify, self.hopeless(p)).without_lost(), ledger(sequence=running, final=final))

    def hopeless(self, p: float) -> Counts:
        """At each look the largest count that gives up."""
        return mixture.most_below(self.looks(), p, math.log(1 / self.give_up))

    def sequence(self, alpha: float) -> Sequence:
        final = self.final * check_alpha(alpha)
        return MixtureMartingale(self.looks(), alpha - final, final, self.tolerance)


@procedures.register("sequential")
@dataclass(frozen=True)
class Sequential(Ville):
    """The default: as `ville`, but to certify at a radius the threshold is calibrated to spend alpha exactly.

    The looks are fixed beforehand, so the error of a threshold is a sum over counts. The least threshold whose error before the cap
    is at most (1 - final) alpha is found by bisection; then the cap certifies at the least count for which the whole error is at
    most alpha. The ledger holds the exact errors. The largest radius, where no p_0 is given, keeps Ville's form.
    """

    def at(self, p: float, alpha: float) -> Threshold:
        check_alpha(alpha)
        return _calibrated(self, float(p), alpha)


@lru_cache(maxsize=256)
def _calibrated(procedure: Ville, p: float, alpha: float) -> Threshold:
    looks, give_up = procedure.looks(), procedure.hopeless(p)
    budget = alpha * (1 - _SLACK)

    def rule(threshold: float) -> Boundary:
        certify = mixture.least_above(looks, p, threshold)
        certify[-1] = procedure.cap + 1
        return Boundary(p, looks, certify, give_up)

    low, high = 0.0, math.log(1 / budget)
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (low, middle) if rule(middle).course(p).total <= (1 - procedure.final) * budget else (middle, high)
    draft = rule(high)
    course = draft.course(p)
    tail = course.left[::-1].cumsum()[::-1]  # at the cap, undecided so far: probability of at least each count
    enough = np.flatnonzero(tail <= budget - course.total)
    place = int(enough[0]) if len(enough) else len(tail)
    certify = draft.certify.copy()
    certify[-1] = min(course.least + place, procedure.cap + 1)
    final = float(tail[place]) if place < len(tail) else 0.0
    return Threshold(Boundary(p, looks, certify, give_up).without_lost(), ledger(sequence=course.total, final=final))
