"""One image on its way to a decision: what it samples next, and what it makes of the counts."""

from __future__ import annotations

import numpy as np

from epsball.smoothing.results import Certificate, Prediction
from epsball.smoothing.sampling.goals import Bounds, Goal
from epsball.smoothing.sampling.sampler import Stream
from epsball.smoothing.statistics import binomial
from epsball.smoothing.statistics.boundary import Counts
from epsball.types import Tensor


class ImageCount:
    """Counts n predictions of one image."""

    def __init__(self, x: Tensor, image: int, n: int) -> None:
        self.x, self.image, self.stream, self.target = x, image, Stream.PREDICTION, n
        self.counts: Counts = np.zeros(0, dtype=np.int64)

    def see(self, counts: Counts) -> bool:
        """One look is all."""
        self.counts = counts
        return True

    def prediction(self, alpha: float) -> Prediction:
        """The class, if a two-sided binomial test tells the two largest counts apart."""
        first, second = sorted(self.counts[:-1].tolist(), reverse=True)[:2]
        label = None if binomial.abstains(first, second, alpha) else int(self.counts[:-1].argmax())
        return Prediction(self.image, label, self.target, tuple(self.counts.tolist()))


class Certifying:
    """Chooses a class on one sample, then judges a goal on another, look by look."""

    def __init__(self, x: Tensor, image: int, selection: int, goal: Goal) -> None:
        self.x, self.image, self.stream, self.target = x, image, Stream.SELECTION, selection
        self._selection, self._goal, self._looks = selection, goal, goal.looks.tolist()
        self._first, self._look, self._known = 0, 0, Bounds()
        self._counts: Counts = np.zeros(0, dtype=np.int64)

    def see(self, counts: Counts) -> bool:
        """The counts of the selection sample, or those at the next look."""
        if self.stream is Stream.SELECTION:
            self._first = int(counts[:-1].argmax())
            self.stream, self.target = Stream.ESTIMATION, self._looks[0]
            return False
        self._counts = counts
        other = np.delete(counts, self._first).max()
        self._known, done = self._goal.judge(self._look, int(counts[self._first]), int(other), self._known)
        if not done:
            self._look += 1
            self.target = self._looks[self._look]
        return done

    def certificate(self) -> Certificate:
        """What was found, once decided."""
        norm, radii = self._goal.norm, self._goal.radii(self._known)
        label = self._first if self._goal.certified(self._known) else None
        return Certificate(
            image=self.image,
            label=label,
            radius=radii[norm],
            norm=norm,
            radii=radii,
            lower=self._known.lower,
            upper=self._known.upper,
            samples=self._selection + self._looks[self._look],
            selection=self._selection,
            counts=tuple(self._counts.tolist()),
            ledger=self._goal.ledger,
        )
