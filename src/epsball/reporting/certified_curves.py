"""Certified accuracy against radius: the figure that proofs and randomized smoothing share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, draw
from epsball.reporting.figures import Figure, short
from epsball.smoothing.log import Row, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = ((ACCENT, "-"), (ACCENT_2, "--"), (INK, ":"), (ACCENT_3, "-"), (GREY, "-."), (MUTED, "--"))
_MOST_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """Who certified which radii.

    Attributes:
        name: in the sheet.
        label: in the legend.
        rows: one an input; at least one.
    """

    name: str
    label: str
    rows: Sequence[Row]


def certified_figure(ident: str, curves: Sequence[Curve], norm: str, by: str, caption: str) -> Figure:
    """Certified accuracy against radius with 95 % bands.

    Args:
        ident: unique on the page.
        curves: drawn in this order.
        norm: of the radii; "" where it is not known.
        by: what the curves are of, the heading of the sheet's first column.
        caption: how to read it.
    """
    points = []
    for one in curves:
        radii = sorted({0.0, *(row.radius for row in one.rows if row.correct)})
        points.append(curve(one.rows, [*radii[:: max(1, len(radii) // _MOST_POINTS)], math.nextafter(radii[-1], math.inf)]))

    def paint(axes: Axes) -> None:
        for position, (one, found) in enumerate(zip(curves, points, strict=True)):
            colour, dash = _LOOKS[position % len(_LOOKS)]
            at = [p.radius for p in found]
            low, high = [100 * p.low for p in found], [100 * p.high for p in found]
            axes.fill_between(at, low, high, step="pre", color=colour, alpha=0.14, linewidth=0)
            values = [100 * p.accuracy for p in found]
            axes.step(at, values, where="pre", color=colour, linestyle=dash, label=short(one.label, 40))
        axes.set_xlabel(f"radius ({norm})" if norm else "radius")
        axes.set_ylabel("certified accuracy")
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    rows = tuple((one.name, p.radius, p.accuracy, p.low, p.high) for one, found in zip(curves, points, strict=True) for p in found)
    alt = f"Certified accuracy against radius of {len(curves)} {by}{'s' * (len(curves) != 1)}."
    return Figure(
        f"figure-{ident}", "Certified accuracy against radius", n_of([len(one.rows) for one in curves], "input"),
        (draw(paint, alt=alt, ident=ident, size=(5.2, 3.0)),),
        Sheet(f"{ident}-accuracy.csv", (by, "radius", "accuracy", "low_95", "high_95"), rows), caption,
    )  # fmt: skip
