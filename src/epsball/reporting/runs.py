"""Run folders read into typed records, and which of them tell which part of the story."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from epsball.errors import BadConfig, BadFile
from epsball.record.history import current
from epsball.record.journal import read
from epsball.record.lines import (
    DoneLine,
    HeaderLine,
    InstanceLine,
    Line,
    SummaryLine,
)
from epsball.record.read import typed
from epsball.reporting.shards import merged
from epsball.smoothing import log
from epsball.smoothing.log import Row, is_log

if TYPE_CHECKING:
    from collections.abc import Sequence


L = TypeVar("L", bound=Line)
_LARGEST = 1e30
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Run:
    """One record.

    Attributes:
        id: "run-1", "run-2", ...: what the page's own ids are made of, since a folder's name is untrusted text.
        name: the folder's name.
        path: the record.
        lines: every line of a known type, checked, in order.
        done: whether the run was closed; a record without it was cut short.
        parts: the shards that were put together, in order; empty for a run that is one record.
    """

    id: str
    name: str
    path: Path
    lines: tuple[Line, ...]
    done: bool
    parts: tuple[Run, ...] = ()

    def of(self, kind: type[L]) -> list[L]:
        """The lines of one type."""
        return [line for line in self.lines if isinstance(line, kind)]

    @property
    def header(self) -> HeaderLine:
        """The first header; resuming a run may append others."""
        return self.of(HeaderLine)[0]

    @property
    def records(self) -> tuple[Run, ...]:
        """The run itself, or its shards: each has a header of its own."""
        return self.parts or (self,)

    @property
    def shard(self) -> tuple[int, int, str] | None:
        """Part, number of parts and hash of the whole index, for a run over a part of one."""
        found = self.header.config.get("shard")
        return None if found is None else (int(found["part"]), int(found["parts"]), str(found["index"]))

    @property
    def missing(self) -> list[int]:
        """Shards that are not here."""
        if self.shard is None:
            return []
        here = {part.shard[0] for part in self.records if part.shard}
        return [number for number in range(1, self.shard[1] + 1) if number not in here]

    @property
    def summary(self) -> SummaryLine | None:
        """The last summary, or None for a run that never came to one."""
        found = self.of(SummaryLine)
        return found[-1] if found else None

    @property
    def instances(self) -> list[InstanceLine]:
        """One line an input, the last one where a resumed run judged it again, ordered by index."""
        return sorted({line.index: line for line in self.of(InstanceLine)}.values(), key=lambda line: line.index)

    @property
    def title(self) -> str:
        """What was run on what, in one line."""
        found = self.summary
        if found is None:
            return self.name
        ball = f"{found.norm} eps {found.eps:g}" if found.eps is not None else ""
        count = f"{found.count:,} inputs" if found.count is not None else ""
        subject = " on ".join(part for part in (found.model, found.data) if part)
        noise = f"smoothed by {found.noise}" if found.noise and found.verb in ("attack", "certify") else ""
        return ", ".join(part for part in (subject, noise, ball.strip(), count) if part) or self.name


@dataclass(frozen=True)
class SmoothingLog:
    """A certification log that was given as a file: one row an image, at least one."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Story:
    """All the runs of a report, in the order they were given, and the logs of smoothing that were given beside them."""

    runs: tuple[Run, ...]
    logs: tuple[SmoothingLog, ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the runs, then of the logs."""
        return [*(run.name for run in self.runs), *(log.name for log in self.logs)]

    @property
    def title(self) -> str:
        """What the first run did; of a page without runs, its logs."""
        return self.runs[0].title if self.runs else f"Certified by smoothing: {', '.join(self.names)}"

    @property
    def judged(self) -> list[Run]:
        """Runs that verified inputs."""
        return [run for run in self.runs if run.header.verb != "attack" and (run.of(InstanceLine) or _verb(run) == "verify")]

    @property
    def attacked(self) -> list[Run]:
        """Runs that only attacked."""
        return [run for run in self.runs if _verb(run) == "attack"]

    def having(self, *kinds: type[Line]) -> list[Run]:
        """Runs with a line of any of these types."""
        return [run for run in self.runs if any(isinstance(line, kinds) for line in run.lines)]


def _verb(run: Run) -> str:
    return run.summary.verb if run.summary else run.header.verb


def read_runs(paths: Sequence[Path]) -> Story:
    """The records of run folders (or of record files), in order; a folder given twice counts once, and shards are one run.

    A file of tab-separated rows is a log of smoothing.

    Raises:
        BadConfig: no run is given, or shards that overlap or do not belong together.
        BadFile: no record, a foreign one, or a malformed line of a record or a log; the message names the file and the line.
    """
    if not paths:
        raise BadConfig("a report needs at least one run", fix="epsball report RUN... -o report.html")
    given = list(dict.fromkeys(path / "record.jsonl" if path.is_dir() else path for path in paths))
    logs = [path for path in given if is_log(path)]
    records = [path for path in given if path not in logs]
    runs = merged([_read(path, f"run-{number}") for number, path in enumerate(records, 1)])
    return Story(runs, tuple(_log(path) for path in logs))


def _log(path: Path) -> SmoothingLog:
    rows = tuple(log.read(path))
    if not rows:
        raise BadFile("a certification log without a row", where=str(path), fix="give a log of at least one image")
    return SmoothingLog(_printable(path.name), rows)


def _read(path: Path, ident: str) -> Run:
    raw = [_printable(line) for line in read(path)]
    found = typed(raw, path)
    for number, line in enumerate(raw, 1):
        if line["type"] != HeaderLine.kind and not _drawable(line):
            raise BadFile(
                f"a malformed {line['type']!r} line in a run record: a number beyond {_LARGEST:g}, which no axis holds",
                where=f"{path}:{number}",
                fix="leave this run out, or run it again",
            )
    lines = tuple(current(found))
    if not lines or not isinstance(lines[0], HeaderLine):
        raise BadFile("the record does not start with a header", where=f"{path}:1", fix="give a run folder of epsball")
    return Run(ident, path.resolve().parent.name, path, lines, any(isinstance(line, DoneLine) for line in lines))


def _printable(value: Any) -> Any:
    """Control characters and lone surrogates replaced: neither a font nor a page can hold them."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _drawable(value: Any) -> bool:
    """Whether every number of it has a place on an axis."""
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    if isinstance(value, dict):
        return all(_drawable(item) for item in value.values())
    return not isinstance(value, list) or all(_drawable(item) for item in value)
