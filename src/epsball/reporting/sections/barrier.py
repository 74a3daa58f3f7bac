"""The section of the convex barrier: for each input its chain of margins, from CROWN to the attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import BarrierLine
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, ACCENT_2, GREY, INK, MUTED, draw
from epsball.reporting.figures import Figure
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.drawing import Drawing
    from epsball.reporting.runs import Run, Story

_MARKS = {
    "crown": ("o", GREY, "CROWN"),
    "lp": ("s", ACCENT, "LP"),
    "lp-tight": ("D", INK, "LP, LP-tight neurons: the barrier"),
    "multi-neuron": ("^", ACCENT_2, "groups of three neurons"),
    "attack": ("x", MUTED, "attack"),
}


@sections.register("barrier")
@dataclass(frozen=True)
class BarrierSection(Section):
    """What no relaxation of single neurons can prove, input by input."""

    title: str = "The convex barrier"
    short: str = "Barrier"
    place: int = 950
    missing: str = "No chains of margins in these runs."
    command: str = "epsball analyse barrier {model} --data {data} --eps {eps}"

    def content(self, story: Story) -> Content:
        return given(barrier=[(run, barrier_panel(run)) for run in story.having(BarrierLine)])


@dataclass(frozen=True)
class BarrierPanel:
    """The chains of one run.

    Attributes:
        figure: None where no chain is whole.
        lines: one an input, ordered by index.
        methods: that have a margin, from the first to the last link of the chain.
        sheet: all of it.
    """

    figure: Figure | None
    lines: tuple[BarrierLine, ...]
    methods: tuple[str, ...]
    sheet: Sheet


def barrier_panel(run: Run) -> BarrierPanel:
    """The chains of one run as a figure and a table."""
    lines = sorted({line.index: line for line in run.of(BarrierLine)}.values(), key=lambda line: line.index)
    methods = tuple(dict.fromkeys(name for line in lines for name in line.margins))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (line.index, line.label, line.status, *(line.margins.get(name) for name in methods), line.gap, line.barrier, line.unstable)
        for line in lines
    )
    sheet = Sheet(f"barrier-{run.id}.csv", ("input", "label", "status", *methods, "gap", "barrier", "unstable"), rows)
    if not _whole(lines):
        return BarrierPanel(None, tuple(lines), methods, sheet)
    caption = (
        "Lower bounds of the margin, from CROWN upwards, and the least margin that the attack found. Above zero they prove the "
        "input. What lies between the diamond and the cross no relaxation of single neurons can close."
    )
    drawing = barrier_figure(lines, f"barrier-{run.id}")
    figure = Figure(f"figure-barrier-{run.id}", "Chains of margins", n_of(len(_whole(lines)), "input"), (drawing,), sheet, caption)
    return BarrierPanel(figure, tuple(lines), methods, sheet)


def barrier_figure(lines: Sequence[BarrierLine], ident: str = "barrier") -> Drawing:
    """A drawing of the lines of type "barrier" of a record, images in the order of their attacked margins.

    Args:
        lines: those whose chain is whole are drawn.
        ident: prefix of the drawing's own ids, unique on the page.
    """
    whole = _whole(lines)

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
        axes.locator_params(axis="x", integer=True)
        if whole:
            axes.legend()

    shut = sum("lp-tight" in margins and margins["lp-tight"] <= 0 < margins["attack"] for margins in whole)
    alt = f"Least margins of {len(whole)} images by method; {shut} lie above zero for the attack and not above it for the barrier."
    return draw(paint, alt=alt, ident=ident, size=(6.0, 3.4))


def _whole(lines: Sequence[BarrierLine]) -> list[dict[str, float]]:
    """The margins of the chains that have both ends, by their attacked margin."""
    known = [_margins(line) for line in lines if line.gap is not None]
    return sorted((m for m in known if "crown" in m and "attack" in m), key=lambda margins: margins["attack"])


def _margins(line: BarrierLine) -> dict[str, float]:
    return {name: margin for name, margin in line.margins.items() if margin is not None}
