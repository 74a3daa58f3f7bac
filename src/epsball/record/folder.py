"""A run folder: one record, one checkpoint, one model, and a lock that only one process holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from epsball.errors import BadConfig, BadFile, RunInUse

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCK = ".lock"


class RunFolder:
    """A folder that this process alone writes to, while the context manager is open.

    The lock is the kernel's (flock): it ends with the process, however that ends. A folder is a run if it holds a record with
    a line in it: a start that failed leaves nothing to resume.

    Args:
        path: made if missing.
        resume: whether the run may exist already.
        anyway: whether a run of another version of the code is gone on with; its record will say so.

    Raises:
        BadConfig: the folder holds something else, or a run and `resume` is False; `anyway` without `resume`.
        BadFile: no such folder can be made.
        RunInUse: another process writes to it.
    """

    def __init__(self, path: Path, *, resume: bool = False, anyway: bool = False) -> None:
        if anyway and not resume:
            raise BadConfig(
                "only a run that is resumed can be of another code", where="--anyway", fix="leave it out, or add --resume"
            )
        self.path = path
        self.anyway = anyway
        _check(path, resume=resume)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"no folder can be made here: {error.strerror}"
            raise BadFile(what, where=str(path), fix="give another folder with --out") from error
        self._lock = _lock(path)
        for part in path.glob(".*.part"):  # what a killed process was writing
            part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the folder."""
        with contextlib.suppress(OSError):
            os.close(self._lock)

    @property
    def record(self) -> Path:
        """Everything that happened, one JSON object a line."""
        return self.path / "record.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The run between two steps, to go on from."""
        return self.path / "checkpoint.safetensors"

    @property
    def model(self) -> Path:
        """The selected model, written at the end."""
        return self.path / "model.safetensors"

    @property
    def config(self) -> Path:
        """The configuration with every default filled in."""
        return self.path / "config.toml"


def is_run(path: Path) -> bool:
    """Whether a folder is a run of this package."""
    record = path / "record.jsonl"
    return record.is_file() and record.stat().st_size > 0


def gathered(paths: Sequence[Path]) -> list[Path]:
    """Some folders and the runs right below them; one that is no run itself and holds some stands for those alone."""
    below = [folder.parent for path in paths if path.is_dir() for folder in sorted(path.glob("*/record.jsonl"))]
    parents = {run.parent for run in below}
    return [*(path for path in paths if is_run(path) or path not in parents), *below]


def _check(path: Path, *, resume: bool) -> None:
    if path.exists() and not path.is_dir():
        raise BadConfig("a run folder is needed, and this is a file", where=str(path), fix="name another folder")
    if is_run(path):
        if not resume:
            raise BadConfig(
                "this folder holds a run already",
                where=str(path),
                fix="go on with it with --resume, name another folder, or delete it",
            )
    elif path.exists() and any(not _ours(entry) for entry in path.iterdir()):
        raise BadConfig("this folder is not empty and not a run", where=str(path), fix="name a new or an empty folder")


def _ours(entry: Path) -> bool:
    """What a run that ended before its first line leaves behind, and the folders of runs below this one."""
    return (
        entry.name in {_LOCK, "config.toml", "record.jsonl"} or entry.name.endswith(".part") or (entry.is_dir() and is_run(entry))
    )


def _lock(path: Path) -> int:
    """Take the lock without waiting, and leave this process's id in its file."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise RunInUse(
            f"process {holder} is writing to this run",
            where=str(path),
            fix="wait until it ends, or name another folder",
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
