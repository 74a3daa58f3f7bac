"""What the features of a table mean: which ones are one column, its unit, its range and its values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from epsball.errors import BadConfig, did_you_mean

Kind = Literal["number", "integer", "category"]
KINDS: tuple[Kind, ...] = ("number", "integer", "category")


@dataclass(frozen=True)
class Column:
    """One column of a table, in its own unit.

    Attributes:
        name: as the table's header has it.
        kind: "number" and "integer" are one feature; "category" has one feature a value, 1 where it holds and 0 elsewhere.
        low: the least valid value of a number; -inf where none is known.
        high: the largest.
        unit: such as "years", for people.
        values: of a category, in the features' order.

    Raises:
        BadConfig: an unknown kind, an empty range, a category of less than two different values, or values of a number.
    """

    name: str
    kind: Kind = "number"
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"column {self.name!r}"
        if self.kind not in KINDS:
            raise BadConfig(
                f"unknown kind {self.kind!r}", where=where, fix=did_you_mean(self.kind, KINDS) or f"use {', '.join(KINDS)}"
            )
        if not self.low <= self.high:
            raise BadConfig(f"the range [{self.low:g}, {self.high:g}] is empty", where=where, fix="give low <= high")
        if self.kind == "category" and (len(self.values) < 2 or len(set(self.values)) < len(self.values)):
            raise BadConfig(f"a category with the values {list(self.values)}", where=where, fix="name two different values or more")
        if self.kind != "category" and self.values:
            raise BadConfig("a number has no values", where=where, fix='give kind="category", or leave the values out')

    @property
    def width(self) -> int:
        """How many features it is."""
        return len(self.values) if self.kind == "category" else 1


@dataclass(frozen=True)
class Columns:
    """The columns of a table, in the order of their features.

    Raises:
        BadConfig: none, or two of one name.
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None or not names:
            raise BadConfig(f"two columns {twice!r}" if names else "no columns", where="columns", fix="name each column once")

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def width(self) -> int:
        """How many features they are together."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature: that of its column, and for a category `column=value`."""
        return tuple(name for column in self.columns for name in _features(column))

    def where(self) -> dict[str, slice]:
        """The features of each column, by its name."""
        found, start = {}, 0
        for column in self.columns:
            found[column.name] = slice(start, start + column.width)
            start += column.width
        return found

    def named(self, name: str) -> Column:
        """A column by its name.

        Raises:
            BadConfig: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = [column.name for column in self.columns]
        raise BadConfig(f"no column {name!r}", where=name, fix=did_you_mean(name, known) or f"the columns are {', '.join(known)}")


def _features(column: Column) -> list[str]:
    return [f"{column.name}={value}" for value in column.values] if column.kind == "category" else [column.name]
