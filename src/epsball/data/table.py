"""A data set from a CSV table: numbers in their own units, categories one feature a value."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.data.base import Dataset, digest, table_statistics
from epsball.data.split import Split
from epsball.errors import BadConfig, BadData, BadFile, did_you_mean
from epsball.problem.columns import Column, Columns, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epsball.types import Tensor

_LARGEST = 2**28  # bytes of a file
_VALUES = 100  # different values of a category
_EXACT = 2**24  # up to it float32 holds every whole number
_WHOLE = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Table:
    """How a CSV table is read.

    Attributes:
        target: the column with the class.
        categorical: columns that are categories although they hold numbers.
        integer: columns of whole numbers, checked.
        drop: columns that are left out.
        test: the part of each class that goes to the test set.
        seed: of the split.
    """

    target: str
    categorical: tuple[str, ...] = ()
    integer: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        Split(self.test, self.seed)
        named = (self.target, *self.categorical, *self.integer, *self.drop)
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise BadConfig(
                f"column {twice!r} is named twice", where="table", fix="name it as target, category, integer or dropped"
            )


def read(name: str, path: Path, table: Table, terms: str) -> Dataset:
    """The data set of a CSV file with a header line.

    Raises:
        BadFile: the file is missing, too large, or no table.
        BadConfig: a column that is not there.
        BadData: empty cells, NaN or infinity, too many values of a category, fewer than two classes.
    """
    where = str(path)
    header, rows = _rows(path)
    for column in (table.target, *table.categorical, *table.integer, *table.drop):
        if column not in header:
            raise BadConfig(
                f"no column {column!r}", where=where, fix=did_you_mean(column, header) or f"the columns are {', '.join(header)}"
            )
    labels, y = _classes([row[header.index(table.target)] for row in rows], table.target, where)
    parts = [
        _column(key, [row[place] for row in rows], table, where)
        for place, key in enumerate(header)
        if key != table.target and key not in table.drop
    ]
    columns = Columns(tuple(column for column, _ in parts))
    train, test = Split(table.test, table.seed)(torch.cat([x for _, x in parts], 1), y, where)
    mean, std = table_statistics(train, columns)
    return Dataset(
        name, train, test, len(labels), terms, mean, std, None, digest(train, test, columns, labels), columns=columns, labels=labels
    )


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    where = str(path)
    if not path.is_file():
        raise BadFile("no such file", where=where, fix="give a CSV file with a header line")
    if path.stat().st_size > _LARGEST:
        raise BadFile(f"a table of more than {_LARGEST} bytes", where=where, fix="give fewer rows")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True) if row]
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise BadFile(f"not a CSV table: {error}", where=where, fix="save it as CSV in UTF-8, with commas") from error
    if len(lines) < 2:
        raise BadFile("a table without rows", where=where, fix="give a header line and one row an example")
    header, rows = lines[0], lines[1:]
    if len(set(header)) < len(header) or "" in header:
        bad = next(key for key in header if not key or header.count(key) > 1)
        raise BadFile(f"two columns {bad!r}" if bad else "a column without a name", where=where, fix="name each column once")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise BadFile(f"row {number} has {len(row)} cells, the header {len(header)}", where=where, fix="correct that row")
        if "" in row:
            key = header[row.index("")]
            raise BadData(f"row {number} is empty in column {key!r}", where=where, fix="fill the cell or remove the row")
    return header, rows


def _classes(cells: list[str], target: str, where: str) -> tuple[tuple[str, ...], Tensor]:
    values = _sorted(set(cells))
    if not 2 <= len(values) <= _VALUES:
        raise BadData(f"the target {target!r} has {len(values)} different values", where=where, fix=f"give 2 to {_VALUES} classes")
    number = {value: place for place, value in enumerate(values)}
    return tuple(values), torch.tensor([number[cell] for cell in cells])


def _column(key: str, cells: list[str], table: Table, where: str) -> tuple[Column, Tensor]:
    numbers = None if key in table.categorical else [_number(cell) for cell in cells]
    if numbers is None or (None in numbers and key not in table.integer):
        return _category(key, cells, where)
    for row, (cell, value) in enumerate(zip(cells, numbers, strict=True), 1):
        if value is None or not abs(value) < 3e38 or (key in table.integer and not value.is_integer()):
            raise BadData(
                f"row {row} has {cell!r} in column {key!r}", where=where, fix="give a finite number (a whole one if integer)"
            )
    x = torch.tensor(numbers, dtype=torch.float32)[:, None]
    whole = key in table.integer or all(_WHOLE.fullmatch(cell) for cell in cells)
    if whole and float(x.abs().max()) > _EXACT:
        raise BadData(
            f"column {key!r} has whole numbers above {_EXACT}, which float32 does not tell apart",
            where=where,
            fix=f"give them in a larger unit, or --drop {key}",
        )
    kind: Kind = "integer" if whole else "number"
    return Column(key, kind, float(x.min()), float(x.max())), x


def _category(key: str, cells: list[str], where: str) -> tuple[Column, Tensor]:
    values = _sorted(set(cells))
    if not 2 <= len(values) <= _VALUES:
        raise BadData(
            f"column {key!r} has {len(values)} different values, a category has 2 to {_VALUES}", where=where, fix=f"--drop {key}"
        )
    number = {value: place for place, value in enumerate(values)}
    x = torch.nn.functional.one_hot(torch.tensor([number[cell] for cell in cells]), len(values)).float()
    return Column(key, "category", 0.0, 1.0, values=tuple(values)), x


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _sorted(values: set[str]) -> list[str]:
    whole = all(_WHOLE.fullmatch(value) and len(value) < 20 for value in values)
    return sorted(values, key=(lambda v: (int(v), v)) if whole else (lambda v: (0, v)))


def words(text: str) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def names(found: Sequence[Column]) -> list[str]:
    """One line a column, for people."""
    return [f"{c.name}: {c.kind} " + (", ".join(c.values) if c.values else f"{c.low:g}..{c.high:g}") for c in found]
