"""The tab-separated logs that the field exchanges (`idx label predict radius correct time`), and the curves drawn from them.

Certified accuracy at r is the share of all images that are predicted rightly with a radius of at least r; an abstention
(predict -1) is never right. The average certified radius (ACR) counts wrong images as 0; it rewards easy images, so the whole
curve comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from epsball.errors import BadConfig, BadFile
from epsball.files import write_bytes
from epsball.proportion import lower_bound, upper_bound

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
ABSTAINED = -1


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
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines[1:], 2) if line.strip()]


def _parsed(line: str, where: str) -> Row:
    cells = line.split("\t")
    try:
        image, label, predicted, radius, correct, clock = cells
        row = Row(int(image), int(label), int(predicted), float(radius), bool(int(correct)), _seconds(clock))
    except ValueError as error:
        raise BadFile(f"a malformed row of a certification log: {error}", where=where) from error
    if not (math.isfinite(row.radius) and row.radius >= 0):
        raise BadFile(f"a radius of {row.radius}", where=where)
    if row.correct != (row.predicted == row.label):
        raise BadFile(f"label {row.label}, predicted {row.predicted}, but correct says {int(row.correct)}", where=where)
    return row


def _clock(seconds: float) -> str:
    """As Python prints a timedelta: h:mm:ss.ffffff."""
    whole, rest = divmod(round(seconds * 1e6), 1_000_000)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}.{rest:06d}"


def _seconds(clock: str) -> float:
    if ":" not in clock:
        return float(clock)
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


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
