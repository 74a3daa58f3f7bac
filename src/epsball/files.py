"""Files written whole and then renamed: a reader never sees half of one, and a crash leaves the old one as it was."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from epsball.errors import DiskFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: to a neighbour, synced, then renamed over the old one.

    Raises:
        DiskFull: the disk is full; an older file of that name is still there, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise DiskFull(
                f"the disk is full: {len(data):,} bytes could not be written",
                where=str(path),
                fix="free some space and run again with --resume; what was written before is whole",
            ) from error
        raise
