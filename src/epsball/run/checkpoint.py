"""Training states on disk: one safetensors file, written whole and then renamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.storage import read_tensors, write_tensors
from epsball.training.state import TrainState

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, state: TrainState) -> None:
    """Replace a run's checkpoint.

    Raises:
        DiskFull: the disk is full; the older checkpoint is whole.
    """
    write_tensors(path, *state.pack())


def load(path: Path) -> TrainState:
    """The state in a checkpoint. The file is data only: reading it executes nothing.

    Raises:
        BadFile: missing, truncated, foreign, or of another format.
    """
    tensors, described = read_tensors(path)
    return TrainState.unpack(tensors, described, str(path))
