"""What predicting and certifying return: values that a record can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """The smoothed classifier's class for one image.

    Attributes:
        image: the image's number.
        label: the class, or None: abstained.
        samples: noisy copies that were classified.
        counts: predictions by class; the last entry counts outputs that were NaN.
    """

    image: int
    label: int | None
    samples: int
    counts: tuple[int, ...]

    @property
    def abstained(self) -> bool:
        return self.label is None


@dataclass(frozen=True)
class Certificate:
    """What is certified of one image, with the stated probability.

    Attributes:
        image: the image's number.
        label: the class that does not change within the radius, or None: abstained.
        radius: in `norm`, strict; 0 if abstained.
        norm: "l2", "l1", "l0", ...
        radii: radii by norm; `norm` and what follows from the same counts.
        lower: p_A is at least this.
        upper: the probability of every other class is at most this.
        samples: noisy copies that were classified, the selection sample with them.
        selection: of these, the samples that chose the class and were not used again.
        counts: predictions of the estimation sample by class; the last entry counts outputs that were NaN.
        ledger: what was spent of alpha, by part.
    """

    image: int
    label: int | None
    radius: float
    norm: str
    radii: Mapping[str, float]
    lower: float
    upper: float
    samples: int
    selection: int
    counts: tuple[int, ...]
    ledger: Mapping[str, float]

    @property
    def abstained(self) -> bool:
        return self.label is None

    def line(self) -> dict[str, Any]:
        """The certificate as plain values, for a line of a run record."""
        plain = dict(vars(self))
        plain.update(radii=dict(self.radii), ledger=dict(self.ledger), counts=list(self.counts))
        return plain
