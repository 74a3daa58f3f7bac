"""Who follows a run: its record, a progress bar, plain lines, or several of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epsball.record.journal import Line, Record


def unheard(done: int, total: int) -> None:
    """The progress of a run that nobody follows."""


class Tracker(Protocol):
    """What a run tells of itself."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """A task of so many steps begins, some of them done before."""
        ...

    def log(self, line: Line) -> None:
        """A line of the record."""
        ...

    def finish(self) -> None:
        """The task is over, whether it succeeded or not."""
        ...


@dataclass(frozen=True, eq=False)
class RecordTracker:
    """Appends every line to a run record, and syncs it."""

    record: Record

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Nothing: the header says what runs."""

    def log(self, line: Line) -> None:
        self.record.append(line)

    def finish(self) -> None:
        """Nothing: the run itself writes its last line."""


@dataclass(frozen=True, eq=False)
class Trackers:
    """Several trackers as one."""

    trackers: Sequence[Tracker]

    def start(self, task: str, total: int, done: int = 0) -> None:
        for tracker in self.trackers:
            tracker.start(task, total, done)

    def log(self, line: Line) -> None:
        for tracker in self.trackers:
            tracker.log(line)

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()


class RichTracker:
    """A progress bar on a terminal; epochs stand above it."""

    def __init__(self, console: Console) -> None:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(TextColumn("{task.description}"), *columns, console=console)
        self._task: Any = None

    def start(self, task: str, total: int, done: int = 0) -> None:
        self._progress.start()
        self._task = self._progress.add_task(task, total=total, completed=done, state="")

    def log(self, line: Line) -> None:
        if line.get("type") == "metrics":
            self._progress.update(self._task, completed=line["step"], state=_metrics(line))
        elif line.get("type") == "epoch":
            self._progress.console.print(_epoch(line), highlight=False)

    def finish(self) -> None:
        self._progress.stop()


@dataclass(frozen=True, eq=False)
class PlainTracker:
    """One line an epoch, for logs and pipes."""

    stream: TextIO

    def start(self, task: str, total: int, done: int = 0) -> None:
        self.stream.write(f"{task}: step {done} of {total}\n")
        self.stream.flush()

    def log(self, line: Line) -> None:
        if line.get("type") == "epoch":
            self.stream.write(_epoch(line) + "\n")
            self.stream.flush()

    def finish(self) -> None:
        self.stream.flush()


def screen(*, quiet: bool = False, stream: TextIO | None = None) -> Tracker:
    """The tracker for a person: a bar on a terminal, plain lines elsewhere, nothing if quiet; on standard error by default."""
    stream = stream or sys.stderr
    if quiet:
        return Trackers(())
    return RichTracker(Console(file=stream)) if stream.isatty() else PlainTracker(stream)


def _metrics(line: Mapping[str, Any]) -> str:
    return f"loss {line['loss']:.4f}  eps {line['eps']:.4g}"


def _epoch(line: Mapping[str, Any]) -> str:
    scores = "  ".join(f"{name} {line[name]:.2%}" for name in ("clean", "verified", "noisy") if name in line)
    where = ", ".join(filter(None, (line["verifier"], line["split"])))
    return f"epoch {line['epoch']:>3}  {scores} ({where}){'  best' if line.get('best') else ''}"
