"""A data set, the registry of sources, and what is measured of every set: its digest, mean and deviation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from epsball.examples import Examples
from epsball.problem.columns import Columns
from epsball.registry import Registry
from epsball.types import Tensor

Say = Callable[[str], None]
_PART = 4096  # examples in double precision at once


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
        words: of a text set, by their number; then mean and std are empty.
        columns: of a table: what its features mean. They are in their own units; mean and std are the model's first layer.
        labels: of a table: the names of the classes.
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
    words: tuple[str, ...] = ()
    columns: Columns | None = None
    labels: tuple[str, ...] = ()


class Source(Protocol):
    """Where a data set comes from. One file a source: it registers a frozen dataclass under the set's name."""

    @property
    def size(self) -> str:
        """What a download takes, in words."""
        ...

    @property
    def terms(self) -> str:
        """Under which terms the data may be used, in one line."""
        ...

    @property
    def places(self) -> tuple[str, ...]:
        """Folders below a data root where the set may lie, in order; empty for a set that needs no folder."""
        ...

    def holds(self, folder: Path) -> bool:
        """Whether a folder has anything of this set, whole or not."""
        ...

    def load(self, folder: Path | None) -> Dataset:
        """The data set from a folder (None for sets that need none).

        Raises:
            BadFile: a file is missing, truncated or not the one that the makers published.
            MissingExtra: the set comes with a package that is not installed.
        """
        ...

    def fetch(self, folder: Path, say: Say) -> None:
        """Fetch the set into a folder and verify it, telling through `say` what is tried; all or nothing.

        Raises:
            CannotFetch: no origin gave the set; the folder is as it was.
        """
        ...


sources: Registry[Source] = Registry(
    "data set",
    package="epsball.data",
    verb="data",
)


def digest(train: Examples, test: Examples, columns: Columns | None = None, labels: tuple[str, ...] = ()) -> str:
    """SHA-256 of types, shapes and values of train x, train y, test x and test y; of a table also of what they mean."""
    total = hashlib.sha256()
    for tensor in (train.x, train.y, test.x, test.y):
        total.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.contiguous().numpy().data)
    if columns is not None:
        total.update(repr((columns, labels)).encode())
    return total.hexdigest()


def statistics(train: Examples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel (axis 1) of the inputs, as the model sees them.

    A channel that never varies has the deviation 1, so that a normalisation layer can divide by it.
    """
    total = torch.zeros(train.x.shape[1], dtype=torch.float64)
    square = torch.zeros_like(total)
    for start in range(0, len(train), _PART):
        part = _channels(train.x[start : start + _PART])
        total += part.sum(1)
        square += part.square().sum(1)
    count = train.x.numel() // train.x.shape[1]
    scale = 1.0 if train.x.is_floating_point() else 255.0
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-9 * (1 + mean.abs()), std, scale)
    return tuple((mean / scale).tolist()), tuple((std / scale).tolist())


def table_statistics(train: Examples, columns: Columns) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each feature of a table; 0 and 1 for those of a category."""
    mean, std = statistics(train)
    category = [column.kind == "category" for column in columns for _ in range(column.width)]
    return (
        tuple(0.0 if c else m for c, m in zip(category, mean, strict=True)),
        tuple(1.0 if c else s for c, s in zip(category, std, strict=True)),
    )


def _channels(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1).double()
