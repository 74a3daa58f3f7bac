"""The numbers behind a figure as CSV in a link, and numbers as people read them."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import quote

Cell = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Sheet:
    """A small table for download.

    Attributes:
        name: the file's name.
        columns: one heading a column.
        rows: one tuple a row; None is an empty cell.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def text(self) -> str:
        """The table as CSV. Text that a spreadsheet would run as a formula gets a quote in front."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([_plain(column) for column in self.columns])
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return out.getvalue()

    @property
    def uri(self) -> str:
        """The table as a data: link, which needs no file and no network."""
        return "data:text/csv;charset=utf-8," + quote(self.text)


def _plain(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def percent(value: float | None) -> str:
    """A share with two decimals, without its sign: 0.9431 is 94.31."""
    return "–" if value is None else f"{100 * value:.2f}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, and a true minus sign."""
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")


def whole(value: int | None) -> str:
    """An integer with thousands apart."""
    return "–" if value is None else f"{value:,}"


def n_of(count: int | Collection[int], unit: str) -> str:
    """How much a figure or a table is made of: "n = 1,000 inputs", or "n = 20 to 40 inputs" where its parts differ."""
    counts = [count] if isinstance(count, int) else sorted(count)
    least, most = (counts[0], counts[-1]) if counts else (0, 0)
    return f"n = {least:,}{f' to {most:,}' if most > least else ''} {unit}{'s' * (most != 1)}"


def duration(seconds: float | None) -> str:
    """A time span in the unit that suits it."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
