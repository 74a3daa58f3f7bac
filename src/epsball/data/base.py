"""A data set, and the registry of sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from epsball.registry import Registry
from epsball.training.base import Examples


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set.

    Attributes:
        name: as registered.
        train: training examples.
        test: test examples.
        classes: how many.
        terms: under which terms the data may be used, in one line.
        mean: per channel, of the training inputs in [0, 1]: for the model's normalisation layer.
        std: likewise.
        clip: the valid range of the inputs, or None.
        digest: SHA-256 of the decompressed data, for checkpoints and records.
    """

    name: str
    train: Examples
    test: Examples
    classes: int
    terms: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    clip: tuple[float, float] | None
    digest: str


class Source(Protocol):
    """Where a data set comes from."""

    size: str  # what a download takes, in words
    terms: str

    def load(self, folder: Path | None) -> Dataset:
        """The data set from a folder (None for sets that need none)."""
        ...

    def fetch(self, folder: Path) -> None:
        """Fetch the set into a folder, and verify it."""
        ...


sources: Registry[Source] = Registry("data set", modules=("epsball.data.mnist", "epsball.data.digits"), verb="data")
