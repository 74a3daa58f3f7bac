"""A sheet as a plain LaTeX tabular, which needs no package."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epsball.reporting.csv import Cell, Sheet

_ESCAPED = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}", **{sign: f"\\{sign}" for sign in "{}$&#%_"},
}  # fmt: skip
_SPECIAL = re.compile("[" + re.escape("".join(_ESCAPED)) + "]")


def tabular(sheet: Sheet) -> str:
    """The sheet as a tabular: text on the left, numbers on the right with six digits, an empty cell for what is not known."""
    numbers = [all(not isinstance(row[place], str) for row in sheet.rows) for place in range(len(sheet.columns))]
    rows = [sheet.columns, *sheet.rows]
    lines = [" & ".join(_cell(cell) for cell in row) + r" \\" for row in rows]
    columns = "".join("r" if right else "l" for right in numbers)
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}", ""]
    )


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands, on one line."""
    return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], " ".join(text.split()))


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}".replace("-", "$-$")
    return str(cell).replace("-", "$-$") if isinstance(cell, int) else escaped(cell)
