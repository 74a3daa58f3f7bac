"""The figure of the convex barrier: for each image its chain of margins, from CROWN to the attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epsball.reporting.drawing import ACCENT, ACCENT_2, GREY, INK, MUTED, draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

_MARKS = {
    "crown": ("o", GREY, "CROWN"),
    "lp": ("s", ACCENT, "LP"),
    "lp-tight": ("D", INK, "LP, LP-tight neurons: the barrier"),
    "multi-neuron": ("^", ACCENT_2, "groups of three neurons"),
    "attack": ("x", MUTED, "attack"),
}


def barrier_figure(lines: Sequence[Mapping[str, Any]]) -> str:
    """An SVG element from the lines of type "barrier" of a record, images in the order of their attacked margins."""
    whole = sorted((line for line in lines if line.get("gap") is not None), key=lambda line: float(line["margins"]["attack"]))

    def paint(axes: Axes) -> None:
        for place, line in enumerate(whole):
            margins = line["margins"]
            axes.plot([place, place], [margins["crown"], margins["attack"]], color=GREY, linewidth=0.6)
        for name, (mark, colour, label) in _MARKS.items():
            points = [(i, line["margins"][name]) for i, line in enumerate(whole) if name in line["margins"]]
            if points:
                axes.plot(*zip(*points, strict=True), linestyle="none", marker=mark, color=colour, label=label, markersize=3.5)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("image, by attacked margin")
        axes.set_ylabel("least margin")
        axes.set_title("What no relaxation of single neurons can prove")
        axes.legend()

    shut = sum(line["margins"]["lp-tight"] <= 0 < line["margins"]["attack"] for line in whole)
    alt = f"Least margins of {len(whole)} images by method; {shut} lie above zero for the attack and not above it for the barrier."
    return draw(paint, alt=alt, ident="barrier", size=(6.0, 3.4))
