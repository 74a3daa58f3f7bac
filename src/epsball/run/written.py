"""A run that is written from its first line to its last in one go: what analyses and attacks record."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from epsball.record.folder import RunFolder
from epsball.record.journal import Line, Record
from epsball.run.judge import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Append(Protocol):
    """Appends lines to a record, and syncs the last of them to the disk."""

    def __call__(self, *lines: Line) -> None: ...


@contextlib.contextmanager
def written(path: Path | None, verb: str, case: Case, **options: Any) -> Iterator[Append]:
    """A new record of a case: its header at once, then the lines that are given, and `done` at the end.

    Args:
        path: the run folder; None: nothing is written.
        verb: for the header.
        case: for the header.
        **options: for the header, beside the case.

    Yields:
        What appends lines. If the block raises, the record keeps what it holds, and is not closed by a `done`.

    Raises:
        BadConfig, RunInUse: the folder holds something else, or another process writes to it.
        DiskFull: what was recorded before is whole.
    """
    if path is None:
        yield _nowhere
        return
    with RunFolder(path) as folder, Record(folder.record) as record:

        def append(*lines: Line) -> None:
            for number, line in enumerate(lines, 1):
                record.append(line, sync=number == len(lines))

        case.heading(verb, case.described(**options)).open(record)
        yield append
        append({"type": "done"})


def _nowhere(*lines: Line) -> None:
    """Of a run that is not written."""
