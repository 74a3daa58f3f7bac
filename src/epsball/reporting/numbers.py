"""Numbers of the figures and tables of one page."""

from __future__ import annotations

from itertools import count


class Numbers:
    """Counts from 1, in the order in which the templates ask; a page has one of its own."""

    def __init__(self) -> None:
        self._figures, self._tables = count(1), count(1)

    def figure(self) -> int:
        """The next figure's number."""
        return next(self._figures)

    def table(self) -> int:
        """The next table's number."""
        return next(self._tables)
