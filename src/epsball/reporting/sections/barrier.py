"""The figure of the convex barrier: for each image its chain of margins, from CROWN to the attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.reporting.drawing import ACCENT, ACCENT_2, GREY, INK, MUTED, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from epsball.record.lines import BarrierLine

_MARKS = {
    "crown": ("o", GREY, "CROWN"),
    "lp": ("s", ACCENT, "LP"),
    "lp-tight": ("D", INK, "LP, LP-tight neurons: the barrier"),
    "multi-neuron": ("^", ACCENT_2, "groups of three neurons"),
    "attack": ("x", MUTED, "attack"),
}


def barrier_figure(lines: Sequence[BarrierLine]) -> str:
    """An SVG element from the lines of type "barrier" of a record, images in the order of their attacked margins."""
    whole = sorted((_margins(line) for line in lines if line.gap is not None), key=lambda margins: margins["attack"])

    def paint(axes: Axes) -> None:
        for place, margins in enumerate(whole):
            axes.plot([place, place], [margins["crown"], margins["attack"]], color=GREY, linewidth=0.6)
        for name, (mark, colour, label) in _MARKS.items():
            points = [(i, margins[name]) for i, margins in enumerate(whole) if name in margins]
            if points:
                axes.plot(*zip(*points, strict=True), linestyle="none", marker=mark, color=colour, label=label, markersize=3.5)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("image, by attacked margin")
        axes.set_ylabel("least margin")
        axes.set_title("What no relaxation of single neurons can prove")
        axes.legend()

    shut = sum(margins["lp-tight"] <= 0 < margins["attack"] for margins in whole)
    alt = f"Least margins of {len(whole)} images by method; {shut} lie above zero for the attack and not above it for the barrier."
    return draw(paint, alt=alt, ident="barrier", size=(6.0, 3.4))


def _margins(line: BarrierLine) -> dict[str, float]:
    return {name: margin for name, margin in line.margins.items() if margin is not None}
