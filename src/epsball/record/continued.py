"""A run in its folder from its header to its last line: the only code that begins a record or goes on with one."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, TypeVar

from epsball.record.folder import RunFolder
from epsball.record.journal import Journal
from epsball.record.lines import DoneLine, Line
from epsball.record.read import typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from epsball.record.heading import Heading

L = TypeVar("L", bound=Line)
BATCH = 500


class Continued:
    """A record that is being written.

    Attributes:
        lines: all that it holds but for its headers, in order: those of an earlier start, and those appended since.
    """

    def __init__(self, lines: list[Line], journal: Journal | None) -> None:
        self.lines = lines
        self._journal = journal

    def append(self, *lines: Line) -> None:
        """Append lines, and sync the last of them to the disk."""
        for number, line in enumerate(lines, 1):
            if self._journal is not None:
                self._journal.append(line, sync=number == len(lines))
            self.lines.append(line)

    def of(self, kind: type[L]) -> list[L]:
        """The lines of one type."""
        return [line for line in self.lines if isinstance(line, kind)]


@contextlib.contextmanager
def continued(path: Path | None, heading: Heading, *, resume: bool = False, anyway: bool = False) -> Iterator[Continued]:
    """The record of a run folder: its header, if it is new, then what is appended, and `done` at the end.

    Args:
        path: the run folder; None: nothing is written.
        heading: of what the record is.
        resume: go on with the run that the folder holds.
        anyway: though another version of the code began it.

    Yields:
        The record. If the block raises, it keeps what it holds, and is not closed by a `done`.

    Raises:
        BadConfig: the folder holds something else, or another run.
        BadFile: it holds a record that is malformed.
        RunInUse: another process writes to it.
        DiskFull: what was recorded before is whole.
    """
    if path is None:
        yield Continued([], None)
        return
    with RunFolder(path, resume=resume, anyway=anyway) as folder, going_on(folder, heading) as run:
        yield run
        run.append(DoneLine())


@contextlib.contextmanager
def going_on(folder: RunFolder, heading: Heading) -> Iterator[Continued]:
    """The same for a folder that is open already, and without a `done` at the end.

    Raises:
        BadConfig, BadFile, DiskFull: as `continued`.
    """
    known = typed(heading.known(folder.record, anyway=folder.anyway), folder.record)  # refused before a byte is changed
    with Journal(folder.record) as journal:
        heading.open(journal, anyway=folder.anyway)
        yield Continued([line for line in known if line.kind != "header"], journal)


def batches(index: Sequence[int]) -> Iterator[list[int]]:
    """Indices, so many at a time as are recorded at once."""
    remaining = iter(index)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
