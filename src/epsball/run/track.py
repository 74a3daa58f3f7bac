"""Who follows a run: its record, a progress bar, plain lines, or several of them.

Lines are imported when the first one comes: the command line reads this file before it knows what it is asked.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epsball.record.continued import Continued
    from epsball.record.lines import EpochLine, Line, MetricsLine


_EVERY = 5.0  # seconds between two plain lines


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

    record: Continued

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
        from epsball.record.lines import EpochLine, MetricsLine

        if isinstance(line, MetricsLine):
            self._progress.update(self._task, completed=line.step, state=_metrics(line))
        elif isinstance(line, EpochLine):
            self._progress.console.print(_epoch(line), highlight=False)

    def finish(self) -> None:
        self._progress.stop()


class PlainTracker:
    """A line at most every few seconds, for logs and pipes: the last epoch, or the step in a long one. The end is always told.

    Args:
        stream: where lines go.
        clock: in seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self._clock = stream, clock
        self._said, self._waiting = clock(), ""
        self._task, self._total = "", 0

    def start(self, task: str, total: int, done: int = 0) -> None:
        self._task, self._total = task, total
        self._say(f"{task}: step {done} of {total}")

    def log(self, line: Line) -> None:
        from epsball.record.lines import EpochLine, MetricsLine

        late = self._clock() - self._said >= _EVERY
        if isinstance(line, EpochLine):
            self._waiting = _epoch(line)
        if late and self._waiting:
            self._say(self._waiting)
        elif late and isinstance(line, MetricsLine):
            self._say(f"{self._task}: step {line.step} of {self._total}  {_metrics(line)}")

    def finish(self) -> None:
        if self._waiting:
            self._say(self._waiting)

    def _say(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()
        self._said, self._waiting = self._clock(), ""


def screen(*, quiet: bool = False, stream: TextIO | None = None) -> Tracker:
    """The tracker for a person: a bar on a terminal, plain lines elsewhere, nothing if quiet; on standard error by default."""
    stream = stream or sys.stderr
    if quiet:
        return Trackers(())
    return RichTracker(Console(file=stream)) if stream.isatty() else PlainTracker(stream)


def _metrics(line: MetricsLine) -> str:
    loss = "nan" if line.loss is None else f"{line.loss:.4f}"
    return f"loss {loss}  eps {line.eps or 0.0:.4g}"


def _epoch(line: EpochLine) -> str:
    known = (("clean", line.clean), ("verified", line.verified), ("noisy", line.noisy))
    scores = "  ".join(f"{name} {share:.2%}" for name, share in known if share is not None)
    where = ", ".join(filter(None, (line.verifier, line.split)))
    return f"epoch {line.epoch:>3g}  {scores} ({where}){'  best' if line.best else ''}"
