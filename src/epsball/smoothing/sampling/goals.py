"""What to find out of an image: whether one radius holds, or the largest that does. A goal judges counts; it draws nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from epsball.smoothing.noises.continuous import Noise, Shape
from epsball.smoothing.statistics.boundary import Counts
from epsball.smoothing.statistics.martingale import log_evidence
from epsball.smoothing.statistics.procedures import Sequence, Threshold

_GIVE_UP = math.log(100)  # evidence that p_A is below what any radius needs; an error here costs power, never soundness


class Bounds(NamedTuple):
    """What is known of p_A (from below) and of every other class (from above)."""

    lower: float = 0.0
    upper: float = 1.0


class Goal(Protocol):
    """A frozen dataclass; see `AtRadius` and `LargestRadius`."""

    @property
    def looks(self) -> Counts:
        """Samples of the estimation stream at each look."""
        ...

    @property
    def ledger(self) -> Mapping[str, float]: ...
    @property
    def norm(self) -> str: ...

    def judge(self, look: int, first: int, other: int, known: Bounds, /) -> tuple[Bounds, bool]:
        """What is known after a look, and whether that is enough."""
        ...

    def certified(self, known: Bounds) -> bool:
        """Whether that certifies anything, a radius of 0 included."""
        ...

    def radii(self, known: Bounds) -> Mapping[str, float]:
        """Radii by norm; the goal's own norm first."""
        ...


@dataclass(frozen=True, eq=False)
class AtRadius:
    """Certify one radius, or not."""

    threshold: Threshold
    radius: float
    noise: Noise
    inputs: Shape

    @property
    def looks(self) -> Counts:
        return self.threshold.boundary.looks

    @property
    def ledger(self) -> Mapping[str, float]:
        return self.threshold.ledger

    @property
    def norm(self) -> str:
        return self.noise.norm

    def judge(self, look: int, first: int, _other: int, known: Bounds) -> tuple[Bounds, bool]:
        decision = self.threshold.boundary.decide(look, first)
        p = self.threshold.boundary.p
        return (Bounds(p, 1 - p) if decision == "certify" else known), decision != "go on"

    def certified(self, known: Bounds) -> bool:
        return known.lower > 0

    def radii(self, known: Bounds) -> Mapping[str, float]:
        follows = self.noise.radii(known.lower, known.upper, self.inputs)
        own = self.radius if self.certified(known) else 0.0
        return MappingProxyType({**follows, self.norm: own})


@dataclass(frozen=True, eq=False)
class LargestRadius:
    """The largest radius that the counts prove; the running maximum over looks is valid, for all bounds hold together."""

    sequence: Sequence
    noise: Noise
    inputs: Shape

    @property
    def looks(self) -> Counts:
        return self.sequence.looks

    @property
    def ledger(self) -> Mapping[str, float]:
        return self.sequence.ledger

    @property
    def norm(self) -> str:
        return self.noise.norm

    def judge(self, look: int, first: int, other: int, known: Bounds) -> tuple[Bounds, bool]:
        samples = int(self.looks[look])
        lower, upper = self.sequence.bounds(look, first, other)
        known = Bounds(max(known.lower, lower), min(known.upper, upper))
        if look == len(self.looks) - 1 or self._hopeless(first, samples):
            return known, True
        if not self.certified(known):  # nothing is certified yet: a small radius is worth more than none
            return known, False
        gain = self._radius(self._forecast(first / samples, other / samples)) - self._radius(known)
        return known, gain < self.sequence.tolerance * self.noise.scale

    def certified(self, known: Bounds) -> bool:
        return known.lower > known.upper

    def _forecast(self, first: float, other: float) -> Bounds:
        """What the cap would prove if hits went on at this rate: finite even where all samples hit."""
        cap = int(self.looks[-1])
        return Bounds(*self.sequence.bounds(len(self.looks) - 1, round(first * cap), round(other * cap)))

    def _hopeless(self, first: int, samples: int) -> bool:
        least = self.noise.needed(0.0, self.inputs)
        return first < samples * least and float(log_evidence(np.array(first), np.array(samples), least)) >= _GIVE_UP

    def _radius(self, known: Bounds) -> float:
        return self.noise.radii(known.lower, known.upper, self.inputs)[self.norm]

    def radii(self, known: Bounds) -> Mapping[str, float]:
        return self.noise.radii(known.lower, known.upper, self.inputs)
