"""Run records as files: one JSON object a line, appended and synced, so that nothing written is ever lost.

The first line is a header, and every line has a `type`: what they may say is in `record.lines`. A line that was cut by a crash is
dropped when the record is opened again; what came before it is whole.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from epsball.errors import BadFile, DiskFull
from epsball.record.lines import Line
from epsball.record.lines.base import plain
from epsball.record.upgrade import upgraded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = "epsball.run/2"
OLDER = ("epsball.run/1",)  # read, never continued: see upgrade.py
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]')  # a string as a whole, or a bracket
DEPTH = 64  # of lists and objects in each other; no line of this package has half of it
Raw = dict[str, Any]
_EDITED = "the record was edited: restore it, or run again"
_HASHES = ("config", "identity", "code")  # of a header of this format


class Journal:
    """A record open for appending. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_cut_line(path)
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; appending again is an error."""
        self._file.close()

    def append(self, line: Line | Mapping[str, Any], *, sync: bool = True) -> None:
        """Append one line (a benchmark may write one of its own), and sync it to the disk unless told that more follow at once.

        Raises:
            DiskFull: the disk took only a part; that part is removed, and what was written before is whole.
        """
        values = plain(line.written() if isinstance(line, Line) else line)
        data = (json.dumps(values, allow_nan=False, separators=(",", ":")) + "\n").encode()
        start = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), start)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(
                    f"the disk is full: a line of {len(data)} bytes could not be written",
                    where=str(self.path),
                    fix="free some space and run again with --resume; every line before this one is whole",
                ) from error
            raise


def read(path: Path) -> list[Raw]:
    """Every whole line of a record, as it stands there.

    Raises:
        BadFile: no such record, not a record of this package, or a malformed line before the last one.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadFile(f"no run record: {error.strerror}", where=str(path), fix="give a run folder") from error
    lines = list(_parsed(raw, path))
    found = lines[0].get("format") if lines else "nothing"
    if found not in (FORMAT, *OLDER):
        raise BadFile(
            f"not a run record of format {FORMAT}: found {found!r}",
            where=str(path),
            fix="give a run folder that this version or an older one wrote",
        )
    for number, line in enumerate(lines, 1):
        if not isinstance(line.get("type"), str):
            raise BadFile("a line of a run record has no type", where=f"{path}:{number}", fix=_EDITED)
    if found in OLDER:
        return upgraded(lines)
    missing = [key for key in _HASHES for line in lines if line["type"] == "header" and not isinstance(line.get(key), dict)]
    if missing or lines[0]["type"] != "header":
        raise BadFile(
            f"a record of format {FORMAT} whose header has no {missing[0] if missing else 'type'!r}",
            where=str(path),
            fix=_EDITED,
        )
    return lines


def _parsed(raw: bytes, path: Path) -> Iterator[Raw]:
    whole, _, _ = raw.rpartition(b"\n")
    for number, line in enumerate(whole.split(b"\n"), 1):
        if not line:
            continue
        yield _line(line, f"{path}:{number}")


def _line(text: bytes, where: str) -> Raw:
    if _depth(text) > DEPTH:
        raise BadFile(f"a line of a run record is nested more than {DEPTH} deep", where=where, fix=_EDITED)
    try:
        parsed = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except ValueError as error:
        raise BadFile(f"a malformed line in a run record: {error}", where=where, fix=_EDITED) from error
    if not isinstance(parsed, dict):
        raise BadFile("a line of a run record is not an object", where=where, fix=_EDITED)
    return parsed


def _finite(text: str) -> float:
    """A number as it stands in a record; NaN and infinities, however they are spelled, are none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no finite number")
    return value


def _depth(text: bytes) -> int:
    """How deep brackets stand in each other outside of strings, found before anything is parsed: a parser would recurse."""
    if text.count(b"[") + text.count(b"{") <= DEPTH:
        return 0
    depth = deepest = 0
    for mark in _BRACKETS.findall(text):
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def _drop_cut_line(path: Path) -> None:
    if not path.exists():
        return
    raw = path.read_bytes()
    whole, newline, rest = raw.rpartition(b"\n")
    if rest:
        with path.open("r+b") as file:
            file.truncate(len(whole) + len(newline))
            os.fsync(file.fileno())
