"""What a figure of a report is: drawings with their data as a sheet and their meaning in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED

if TYPE_CHECKING:
    from epsball.reporting.csv import Sheet
    from epsball.reporting.drawing import Drawing

WIDE = (4.6, 2.7)
_LOOKS = {
    "attacked": (GREY, ":", "s"),
    "ibp": (ACCENT_3, "-", "o"),
    "crown-ibp": (ACCENT_2, "--", "D"),
    "crown": (ACCENT, "-", "o"),
    "verified": (INK, ":", "s"),
}
_OTHER_LOOKS = ((GREY, "-", "v"), (MUTED, "--", "^"), (ACCENT_2, ":", "P"), (INK, "-.", "X"))
MOST_LAYERS = 24


@dataclass(frozen=True)
class Figure:
    """Drawings under one title.

    Attributes:
        id: unique on the page.
        n: how much it was made of, such as "n = 200 inputs".
        drawings: in the order in which they are read.
        sheet: the data.
        caption: how to read it.
        small: many small drawings instead of one.
        legend: name and colour of what the page's own keys stand for.
        across: how many drawings stand in a row of an exported file.
    """

    id: str
    title: str
    n: str
    drawings: tuple[Drawing, ...]
    sheet: Sheet
    caption: str
    small: bool = False
    legend: tuple[tuple[str, str], ...] = ()
    across: int = 3

    @property
    def svgs(self) -> tuple[str, ...]:
        """The drawings as SVG elements, made here and safe to set into a page."""
        return tuple(drawing.inline for drawing in self.drawings)


def look(name: str, position: int) -> tuple[str, str, str]:
    """Colour, line and marker of a method: the same in every drawing, or one by its position."""
    return _LOOKS.get(name, _OTHER_LOOKS[position % len(_OTHER_LOOKS)])


def short(name: str, most: int = 28) -> str:
    """A name that fits into a drawing."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
