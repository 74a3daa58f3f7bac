"""A table of results in each form: ruled columns for people, tab-separated lines and CSV for programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from enum import StrEnum

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_NUMBER = r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?"
# 0.31, 1,438, 99.5 %, 99.5 % [98, 100], 1.2 to 1.4, 0.9 / 0.8, 12 of 30, 98.2 +- 0.3; what nobody computed is a dash
_NUMERIC = re.compile(rf"(?:{_NUMBER}(?: %)?(?: \[.*\]| (?:to|of|/|\+-) {_NUMBER})?|-|nan|[-+]?inf)?")
_BREAKS = re.compile(r"[\t\r\n]+")
_LEAST = 16  # cells that a wrapped column keeps

Rows = Sequence[Sequence[str]]


class TableForm(StrEnum):
    """How results are printed."""

    TABLE = "table"
    TSV = "tsv"
    CSV = "csv"
    JSON = "json"


def separated(form: TableForm, columns: Sequence[str], rows: Rows) -> str:
    """The columns' names, and a line a row: with commas and quotes for CSV, else with tabs; a cell is one line."""
    if form is TableForm.CSV:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *rows])
        return text.getvalue()
    return "".join("\t".join(_BREAKS.sub(" ", cell) for cell in row) + "\n" for row in (columns, *rows))


def show(console: Console, title: str, columns: Sequence[str], rows: Rows) -> None:
    """Columns side by side: text on the left, numbers on the right. Nothing is cut, however narrow the terminal.

    A table that is too wide wraps its widest column of text, between words; where that is not enough, each row is a record of its
    own, with a line a column.
    """
    if title:
        console.print(title, style="italic", markup=False)
    numeric = [all(_NUMERIC.fullmatch(row[i]) for row in rows) for i in range(len(columns))]
    table = _ruled(columns, rows, numeric, None)
    if _width(console, table) > console.width:
        wrapped = max((i for i, is_number in enumerate(numeric) if not is_number), key=lambda i: _widest(rows, i), default=None)
        table = _ruled(columns, rows, numeric, wrapped)
        needed = 0 if wrapped is None else _width(console, table) - _widest((columns, *rows), wrapped)
        if wrapped is None or needed + max(_LEAST, _longest_word((columns, *rows), wrapped)) > console.width:
            _records(console, columns, rows)
            return
    console.print(table, soft_wrap=False)


def _ruled(columns: Sequence[str], rows: Rows, numeric: Sequence[bool], wrapped: int | None) -> Table:
    table = Table()
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if numeric[i] else "left", no_wrap=i != wrapped, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _width(console: Console, table: Table) -> int:
    """What it takes without wrapping."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _widest(rows: Rows, i: int) -> int:
    return max(cell_len(row[i]) for row in rows) if rows else 0


def _longest_word(rows: Rows, i: int) -> int:
    return max(cell_len(word) for row in rows for word in row[i].split() or [""])


def _records(console: Console, columns: Sequence[str], rows: Rows) -> None:
    """A block a row: the terminal wraps a line that is longer than it, and nothing is lost."""
    room = max(map(cell_len, columns))
    for number, row in enumerate(rows):
        if number:
            console.print()
        for column, cell in zip(columns, row, strict=True):
            console.print(f"{column}{' ' * (room - cell_len(column))}  {cell}", markup=False)
