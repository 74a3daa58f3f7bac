"""Pictures as PNG in data: links, made from the record's numbers alone, and tables of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.record.lines import WitnessLine
from epsball.reporting.csv import Sheet
from epsball.reporting.drawing import draw
from epsball.reporting.figures import Figure, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from epsball.reporting.drawing import Drawing
    from epsball.reporting.runs import Run

    Pixels = NDArray[np.float64]

PictureCell = tuple[str, str, int, int]  # data: link, note, width and height in pixels
_MOST = 24  # adversarial examples of a run that a page shows


@dataclass(frozen=True)
class PictureTable:
    """Pictures side by side.

    Attributes:
        id: unique on the page.
        title: of the group.
        n: how many there are.
        columns: headings.
        rows: (name, one cell a column, or None).
    """

    id: str
    title: str
    n: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[PictureCell | None, ...]], ...]

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """Every cell by rows, for an exported file."""
        return tuple(
            draw(_shown(cell, f"{name}, {column}"), alt=f"{name}, {column}", ident=f"{self.id}-{place}-{at}", size=(2.0, 2.3))
            for place, (name, cells) in enumerate(self.rows)
            for at, (column, cell) in enumerate(zip(self.columns, cells, strict=True))
        )

    @property
    def figure(self) -> Figure:
        """The pictures as a figure whose data are their notes."""
        rows = tuple((name, *(cell[1] if cell else None for cell in cells)) for name, cells in self.rows)
        sheet = Sheet(f"{self.id}.csv", ("picture", *self.columns), rows)
        return Figure(self.id, self.title, self.n, self.drawings, sheet, "", across=len(self.columns))


def _shown(cell: PictureCell | None, title: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        from matplotlib.image import imread

        axes.set_axis_off()
        if cell is not None:
            pixels = imread(io.BytesIO(base64.b64decode(cell[0].partition(",")[2])), format="png")
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title("\n".join(short(part) for part in (title, cell[1]) if part), fontsize=7)

    return paint


def pictured(run: Run) -> list[WitnessLine]:
    """The adversarial examples of a run that the page shows: one an input, the last one that was found."""
    return list({witness.index: witness for witness in run.of(WitnessLine)}.values())[:_MOST]


def png(pixels: Pixels) -> str:
    """A picture (H, W, C) of values in [0, 1], one or three channels, as a PNG in a data: link."""
    from PIL import Image

    values = np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
