"""The 8x8 digits of scikit-learn (Alpaydin and Kaynak 1998): small, and there wherever scikit-learn is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from epsball.data.base import Dataset, Say, digest, sources, statistics
from epsball.errors import MissingExtra
from epsball.examples import Examples

if TYPE_CHECKING:
    from pathlib import Path

_CLASSES = 10
_TOP = 16  # grey levels are whole numbers 0..16
_FIFTH = 5


@dataclass(frozen=True)
class Digits:
    """1,797 pictures of 8x8, scaled to floats in [0, 1] (exactly: sixteenths).

    The set has no split of its own. Here every fifth picture of each class, in the file's order and from the third on, is a test
    picture: 1,438 and 359, the same on every machine.
    """

    size: str = "nothing: it comes with scikit-learn"
    terms: str = "CC BY 4.0 (UCI machine learning repository, optdigits); distributed with scikit-learn, BSD-3"
    places: tuple[str, ...] = ()

    def holds(self, folder: Path) -> bool:
        return False

    def load(self, folder: Path | None) -> Dataset:
        """Pictures as float32 (N, 1, 8, 8), labels as int64 (N,)."""
        x, y = _read()
        test = _every_fifth(y)
        parts = Examples(x[~test], y[~test]), Examples(x[test], y[test])
        mean, std = statistics(parts[0])
        return Dataset(
            name="digits",
            train=parts[0],
            test=parts[1],
            classes=_CLASSES,
            terms=self.terms,
            mean=mean,
            std=std,
            clip=(0.0, 1.0),
            digest=digest(*parts),
        )

    def fetch(self, folder: Path, say: Say) -> None:
        """Nothing to fetch; says so if scikit-learn is there, and how to install it if not."""
        self.load(None)
        say("digits comes with scikit-learn, which is installed: nothing to fetch")


def _read() -> tuple[torch.Tensor, torch.Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra(
            "the data set 'digits' comes with scikit-learn, which is not installed",
            fix="pip install 'epsball[demo]'",
        ) from error
    values, labels = load_digits(return_X_y=True)
    pictures = torch.from_numpy(np.asarray(values, np.float32)).view(-1, 1, 8, 8) / _TOP
    return pictures, torch.from_numpy(np.asarray(labels, np.int64))


def _every_fifth(y: torch.Tensor) -> torch.Tensor:
    chosen = torch.zeros(len(y), dtype=torch.bool)
    for label in range(_CLASSES):
        chosen[(y == label).nonzero()[2::_FIFTH, 0]] = True
    return chosen


sources.register("digits")(Digits())
