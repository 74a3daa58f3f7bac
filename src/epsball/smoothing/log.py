"""The tab-separated logs that the field exchanges (`idx label predict radius correct time`), and the curves drawn from them.

Certified accuracy at r is the share of all images that are predicted rightly with a radius of at least r; an abstention
(predict -1) is never right. The average certified radius (ACR) counts wrong images as 0; it rewards easy images, so the whole
curve comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from epsball.errors import BadConfig, BadFile
from epsball.files import write_bytes
from epsball.proportion import lower_bound, upper_bound

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
ABSTAINED = -1
_LONGEST = 1000


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        image: its number.
        label: its class.
        predicted: the smoothed class; -1: abstained.
        radius: certified, 0 if abstained.
        correct: the smoothed class is the label.
        seconds: time it took.
    """

    image: int
    label: int
    predicted: int
    radius: float
    correct: bool
    seconds: float

    @classmethod
    def of(cls, image: int, label: int, predicted: int | None, radius: float, seconds: float) -> Row:
        """A row from a certificate's parts, None being an abstention."""
        if predicted is None:
            return cls(image, label, ABSTAINED, 0.0, correct=False, seconds=seconds)
        return cls(image, label, predicted, radius, predicted == label, seconds)


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a log, whole or not at all; radii keep all their digits, so that none is rounded upwards."""
    cells = [COLUMNS] + [(r.image, r.label, r.predicted, r.radius, int(r.correct), _clock(r.seconds)) for r in rows]
    lines = ["\t".join(map(str, row)) for row in cells]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def read(path: Path) -> list[Row]:
    """Every row of a log.

    Raises:
        BadFile: missing, another header, or a malformed row; the message names the line.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"no certification log: {error}", where=str(path)) from error
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        raise BadFile(
            "not a certification log", where=f"{path}:1", fix=f"the first line must be {' '.join(COLUMNS)}, tab-separated"
        )
    rows: dict[int, Row] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            row = _parsed(line, f"{path}:{number}")
            if row.image in rows:
                raise BadFile(
                    f"image {row.image} stands twice in a certification log",
                    where=f"{path}:{number}",
                    fix="keep one row for each image: a second one would count it twice",
                )
            rows[row.image] = row
    return list(rows.values())


def is_log(path: Path) -> bool:
    """Whether a file means to be a log: it is called .tsv, or its first line holds tabs, which no line of a record does."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == ".tsv" or b"\t" in file.readline(_LONGEST)


def _parsed(line: str, where: str) -> Row:
    cells = line.split("\t")
    if len(cells) != len(COLUMNS):
        raise BadFile(
            f"a row of a certification log has {len(cells)} cells",
            where=where,
            fix=f"it needs {len(COLUMNS)}: {', '.join(COLUMNS)}",
        )
    found = {name: _cell(name, cell, where) for name, cell in zip(COLUMNS, cells, strict=True)}
    image, label, predicted, correct = (int(found[name]) for name in ("idx", "label", "predict", "correct"))
    row = Row(image, label, predicted, found["radius"], bool(correct), found["time"])
    if row.predicted == ABSTAINED and row.radius > 0:
        raise BadFile(
            f"an abstention with a radius of {row.radius}", where=where, fix="a row that predicts -1 certifies nothing: radius 0"
        )
    if row.correct != (row.predicted == row.label):
        fix = "correct is 1 where predict is the label, and else 0"
        raise BadFile(f"label {row.label}, predicted {row.predicted}, but correct says {int(row.correct)}", where=where, fix=fix)
    return row


def _cell(name: str, cell: str, where: str) -> float:
    """A number of one column in its range."""
    read, least, most, told = _RANGES[name]
    try:
        value = read(cell)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadFile(f"a malformed row of a certification log: {name} is {cell[:40]!r}", where=where, fix=f"write {told}")
    return value


def _clock(seconds: float) -> str:
    """As Python prints a timedelta: h:mm:ss.ffffff."""
    whole, rest = divmod(round(seconds * 1e6), 1_000_000)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}.{rest:06d}"


def _seconds(clock: str) -> float:
    if ":" not in clock:
        return float(clock)
    days, _, rest = clock.rpartition(" day")  # a timedelta above a day: "1 day, 2:03:04"
    hours, minutes, seconds = rest.rpartition(" ")[2].split(":")
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


_WHOLE = 10**9
_RANGES: dict[str, tuple[Callable[[str], float], float, float, str]] = {
    "idx": (int, 0, 2**53, "the number of an image, a whole number from 0"),
    "label": (int, 0, _WHOLE, "a class, a whole number from 0"),
    "predict": (int, ABSTAINED, _WHOLE, "a class, or -1 for an abstention"),
    "radius": (float, 0.0, 1e30, "a finite radius from 0"),
    "correct": (int, 0, 1, "1 where the prediction is right, else 0"),
    "time": (_seconds, 0.0, 1e15, "seconds, or h:mm:ss"),
}


class CertifiedPoint(NamedTuple):
    """Certified accuracy at one radius, and its 95 % Clopper-Pearson interval over the choice of images."""

    radius: float
    accuracy: float
    low: float
    high: float


def curve(rows: Sequence[Row], radii: Sequence[float], alpha: float = 0.05) -> list[CertifiedPoint]:
    """Certified accuracy against radius; at 0 it is the share predicted rightly without abstaining.

    Raises:
        BadConfig: no rows.
    """
    _some(rows)
    return [_point(rows, radius, alpha) for radius in radii]


def _point(rows: Sequence[Row], radius: float, alpha: float) -> CertifiedPoint:
    held = sum(row.correct and row.radius >= radius for row in rows)
    low, high = lower_bound(held, len(rows), alpha / 2), upper_bound(held, len(rows), alpha / 2)
    return CertifiedPoint(radius, held / len(rows), low, high)


def average_radius(rows: Sequence[Row]) -> tuple[float, float]:
    """ACR and its standard error over the choice of images."""
    _some(rows)
    radii = [row.radius if row.correct else 0.0 for row in rows]
    mean = sum(radii) / len(radii)
    variance = sum((r - mean) ** 2 for r in radii) / max(len(radii) - 1, 1)
    return mean, math.sqrt(variance / len(radii))


def abstentions(rows: Sequence[Row]) -> float:
    """The share of images without a prediction."""
    _some(rows)
    return sum(row.predicted == ABSTAINED for row in rows) / len(rows)


def _some(rows: Sequence[Row]) -> None:
    if not rows:
        raise BadConfig("a curve of no images", fix="give a log with at least one row")
