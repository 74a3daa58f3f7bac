"""Numbers of the figures and tables of one page, and what stands under them."""

from __future__ import annotations

from dataclasses import dataclass
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
    """Counts from 1, in the order in which the templates ask; a page has one of its own."""

    def __init__(self) -> None:
        self.exhibits: list[Exhibit] = []
        self._figures = self._tables = 0

    def figure(self, figure: Figure) -> str:
        """The next figure's number."""
        self._figures += 1
        self.exhibits.append(Exhibit("figure", str(self._figures), figure.title, figure.sheet, figure))
        return str(self._figures)

    def table(self, title: str, sheet: Sheet) -> str:
        """The next table's number."""
        self._tables += 1
        self.exhibits.append(Exhibit("table", str(self._tables), title, sheet))
        return str(self._tables)
