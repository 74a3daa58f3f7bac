"""A rule for "is p above p_0?" on streamed counts, as a table; and its exact error by dynamic programming over counts.

Whatever a procedure computes at its looks, on one stream of hits and misses it comes to two integers a look: the least
count that certifies and the largest count that gives up. So every procedure is one `Boundary`, is run by comparing integers,
and its probability of certifying is a sum over counts: exact, for any p, in well under a second.

A larger p makes larger counts, certifying counts are an up-set and giving up a down-set at every look; hence the probability
of certifying grows with p, and its value at p_0 is the largest of all p <= p_0: the rate of false certificates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, xlog1py, xlogy

from epsball.errors import BadConfig

Counts = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]
Decision = Literal["certify", "give up", "go on"]


@dataclass(frozen=True, eq=False)
class Boundary:
    """What to do at each look.

    Attributes:
        p: p_0: certifying says "the probability of a hit is above p", and is false if it is not.
        looks: (L,) samples seen at each look, increasing; the last one is the cap.
        certify: (L,) the least count of hits that certifies; larger than the look where none does.
        give_up: (L,) the largest count that gives up; -1 where none does. At the cap everything is decided.
    """

    p: float
    looks: Counts
    certify: Counts
    give_up: Counts

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise BadConfig(
                f"no sample decides whether a probability is above {self.p}", fix="ask for a radius inside the noise's range"
            )
        if len(self.looks) == 0 or self.looks[0] < 1 or np.any(np.diff(self.looks) < 1):
            raise BadConfig("the looks of a procedure must increase from at least 1", where=f"looks {self.looks[:8].tolist()}")
        for table in (self.looks, self.certify, self.give_up):
            table.flags.writeable = False

    @property
    def cap(self) -> int:
        """The most samples that are drawn."""
        return int(self.looks[-1])

    def decide(self, look: int, hits: int) -> Decision:
        """What the counts at one look lead to."""
        if hits >= self.certify[look]:
            return "certify"
        return "give up" if hits <= self.give_up[look] or look == len(self.looks) - 1 else "go on"

    def without_lost(self) -> Boundary:
        """The same certificates with fewer samples: give up as soon as even hits alone would no longer reach a certifying count."""
        spare = self.certify - self.looks  # a stream at a look can still reach a later one if hits - looks >= the least of these
        needed = np.minimum.accumulate(spare[::-1])[::-1] + self.looks
        return Boundary(self.p, self.looks, self.certify, np.maximum(self.give_up, needed - 1))

    @property
    def possible(self) -> bool:
        """Whether any stream certifies: hits alone do, somewhere."""
        return bool(np.any(self.certify <= self.looks))

    def replay(self, hits: Counts) -> tuple[Decision, int]:
        """The decision on a stored stream of counts at the looks, and the samples it took."""
        for look, count in enumerate(hits.tolist()):
            decision = self.decide(look, count)
            if decision != "go on":
                return decision, int(self.looks[look])
        raise BadConfig(f"a stream of {len(hits)} looks ends undecided", fix=f"store the counts of all {len(self.looks)} looks")

    def course(self, p: float) -> Course:
        """Exact probabilities of what happens when the probability of a hit is p."""
        certified, reached = np.zeros(len(self.looks)), np.zeros(len(self.looks))
        alive, low, before = np.ones(1), 0, 0
        for look, samples in enumerate(self.looks.tolist()):
            reached[look] = alive.sum()
            alive, low = advance(alive, low, samples - before, p)
            first_certified = min(max(int(self.certify[look]) - low, 0), len(alive))
            certified[look] = alive[first_certified:].sum()
            first_alive = min(max(int(self.give_up[look]) + 1 - low, 0), first_certified)
            alive, low, before = alive[first_alive:first_certified], low + first_alive, samples
            if len(alive) == 0:
                break
        steps = np.diff(self.looks, prepend=0)
        return Course(certified, float(reached @ steps), alive, low)


@dataclass(frozen=True, eq=False)
class Course:
    """What a boundary does under one probability of a hit.

    Attributes:
        certified: (L,) probability of certifying at each look.
        samples: mean number of samples.
        left: probabilities of the counts at the cap that neither certify nor give up by count: the first is of `least`.
        least: see `left`.
    """

    certified: Probabilities
    samples: float
    left: Probabilities
    least: int

    @property
    def total(self) -> float:
        """Probability of certifying at all."""
        return float(self.certified.sum())


def advance(alive: Probabilities, low: int, steps: int, p: float) -> tuple[Probabilities, int]:
    """The distribution of counts after more samples: counts start at `low`. Mass below 1e-20 a step is left out."""
    spread = 10 * np.sqrt(steps * p * (1 - p)) + 30
    first, last = max(0, int(steps * p - spread)), min(steps, int(steps * p + spread) + 1)
    return np.convolve(alive, pmf(np.arange(first, last + 1), steps, p)), low + first


def pmf(hits: Counts, samples: int, p: float) -> Probabilities:
    """Binomial probabilities; relative error about 1e-11 at 100,000 samples. Importing scipy.stats would cost 1.6 s."""
    choose = -betaln(hits + 1, samples - hits + 1) - np.log(samples + 1)
    probabilities: Probabilities = np.exp(choose + xlogy(hits, p) + xlog1py(samples - hits, -p))
    return probabilities
