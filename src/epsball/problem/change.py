"""What may happen to one column of a table, and the ends of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from epsball.errors import BadConfig, did_you_mean

if TYPE_CHECKING:
    from epsball.problem.columns import Column

Direction = Literal["both", "up", "down"]
DIRECTIONS: tuple[Direction, ...] = ("both", "up", "down")


@dataclass(frozen=True)
class Change:
    """How far one column may move. A column without one stays as it is.

    Attributes:
        eps: of a number: how far, in the column's own unit; inf: anywhere between `low` and `high`.
        direction: "both", or "up" or "down" where it may only rise or only fall.
        low: the least value that it may be moved to; -inf: any.
        high: the largest.
        to: of a category: the values that it may become; "any" of them, or names. It may always stay.

    Raises:
        BadConfig: a negative radius, an unknown direction, an empty range, or a radius without end in one.
    """

    eps: float | None = None
    direction: Direction = "both"
    low: float = -math.inf
    high: float = math.inf
    to: Literal["any"] | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.to, list):
            object.__setattr__(self, "to", tuple(self.to))
        if self.eps is not None and not self.eps >= 0:
            raise BadConfig(f"a radius of {self.eps}", where="eps", fix="give a number of at least 0, in the column's unit")
        if self.direction not in DIRECTIONS:
            raise BadConfig(
                f"unknown direction {self.direction!r}",
                where="direction",
                fix=did_you_mean(self.direction, DIRECTIONS) or f"use {', '.join(DIRECTIONS)}",
            )
        if not self.low <= self.high:
            raise BadConfig(f"the range [{self.low:g}, {self.high:g}] is empty", where="low", fix="give low <= high")
        if self.eps is not None and math.isinf(self.eps) and math.isinf(self.high - self.low):
            raise BadConfig("a radius without end", where="eps", fix="give low and high, between which it may be anything")

    def checked(self, column: Column) -> Change:
        """Itself, where the column can change so.

        Raises:
            BadConfig: a radius for a category, values of a number, a value that the category does not have, or nothing at all.
        """
        where = f"columns.{column.name}"
        if column.kind == "category":
            if self != Change(to=self.to) or self.to is None:
                raise BadConfig(
                    "a category has no radius, no direction and no range", where=where, fix='give to = "any", or the values'
                )
            for name in () if self.to == "any" else self.to:
                if name not in column.values:
                    hint = did_you_mean(name, column.values)
                    raise BadConfig(f"no value {name!r}", where=where, fix=hint or f"the values are {', '.join(column.values)}")
        elif self.to is not None or self.eps is None:
            raise BadConfig(
                "a number needs a radius, and takes no values", where=where, fix="give eps in its unit, or leave it out: it stays"
            )
        elif self.eps > self.high - self.low and math.isfinite(self.eps):
            raise BadConfig(
                f"eps {self.eps:g} is wider than the range [{self.low:g}, {self.high:g}]",
                where=where,
                fix="eps is in the column's unit; eps = inf stands for the whole range",
            )
        return self

    def reach(self) -> tuple[float, float]:
        """How far down and how far up."""
        eps = self.eps or 0.0
        return (0.0 if self.direction == "up" else eps), (0.0 if self.direction == "down" else eps)

    def formula(self, column: Column) -> str:
        """Itself, such as `age + [0, 2] years`."""
        if column.kind == "category":
            names = "any value" if self.to == "any" else f"itself, {', '.join(self.to or ())}"
            return f"{column.name} in {{{names}}}"
        down, up = self.reach()
        moved = f"{column.name} + [{-down or 0:g}, {up:g}]" if down != up else f"{column.name} +- {up:g}"
        if math.isinf(self.eps or 0.0):
            moved = column.name
        ends = "" if math.isinf(self.low) and math.isinf(self.high) else f" in [{self.low:g}, {self.high:g}]"
        return f"{moved}{ends}{f' {column.unit}' if column.unit else ''}{' (whole)' if column.kind == 'integer' else ''}"
