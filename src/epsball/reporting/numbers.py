"""Numbers of the figures and tables of one page, and what stands under them."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epsball.reporting.csv import Sheet
    from epsball.reporting.figures import Figure


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table as it stands on the page.

    Attributes:
        kind: "figure" or "table".
        number: on the page.
        title: without its number.
        sheet: the data.
        figure: None for a table.
    """

    kind: str
    number: str
    title: str
    sheet: Sheet
    figure: Figure | None = None


class Numbers:
    """Counts from 1, in the order in which the templates ask; a page has one of its own.

    Panels that show one at a time share their numbers and differ in a letter: with 2a hidden behind 2b, the next one is 3.
    """

    def __init__(self) -> None:
        self.exhibits: list[Exhibit] = []
        self._last = {"figure": 0, "table": 0}
        self._first, self._most, self._letter = self._last, self._last, ""

    def figure(self, figure: Figure) -> str:
        """The next figure's number."""
        number = self._next("figure")
        self.exhibits.append(Exhibit("figure", number, figure.title, figure.sheet, figure))
        return number

    def table(self, title: str, sheet: Sheet) -> str:
        """The next table's number."""
        number = self._next("table")
        self.exhibits.append(Exhibit("table", number, title, sheet))
        return number

    def panel(self, place: int, count: int) -> str:
        """Begin a panel, one of `count`; nothing is to be written for it."""
        if place == 0:
            self._first = self._most = self._last
        self._end()
        self._last = self._first
        self._letter = _letters(place) if count > 1 else ""
        return ""

    def after(self) -> str:
        """End the panels: the next number is above those of all of them."""
        self._end()
        self._last, self._letter = self._most, ""
        return ""

    def _end(self) -> None:
        self._most = {kind: max(number, self._last[kind]) for kind, number in self._most.items()}

    def _next(self, kind: str) -> str:
        self._last = self._last | {kind: self._last[kind] + 1}
        return f"{self._last[kind]}{self._letter}"


def _letters(place: int) -> str:
    """A to z, then aa, ab, ..."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + ascii_lowercase[place % 26]
