"""The section of estimates: what sampling says of single inputs. Nothing of it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import EstimateLine
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, ALARM, INK, draw
from epsball.reporting.figures import WIDE, Figure
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

    Points = list[tuple[int, float]]
_COLUMNS = ("input", "label", "least_margin_found", "lipschitz_estimate", "radius_estimate", "seconds")


@sections.register("estimate")
@dataclass(frozen=True)
class EstimateSection(Section):
    """Margins, Lipschitz constants and radii by sampling: estimates, never verdicts."""

    title: str = "What sampling says"
    short: str = "Estimates"
    place: int = 1050
    missing: str = "No estimates by sampling in these runs."
    command: str = "epsball analyse estimate {model} --data {data} --eps {eps}"

    def content(self, story: Story) -> Content:
        return given(estimates=[(run, estimate_panel(run)) for run in story.having(EstimateLine)])


@dataclass(frozen=True)
class EstimatePanel:
    """The estimates of one run.

    Attributes:
        figure: None where no value of any input is known.
        lines: one an input, by the least margin that was found.
        broken: inputs with a margin below zero: the network really errs there.
        sheet: the values of every input, and the range of each output that was found.
    """

    figure: Figure | None
    lines: tuple[EstimateLine, ...]
    broken: int
    sheet: Sheet


def estimate_panel(run: Run) -> EstimatePanel:
    """The estimates of one run as a figure and a table."""
    latest = {line.index: line for line in run.of(EstimateLine)}.values()
    lines = tuple(sorted(latest, key=lambda line: (line.least is None, line.least or 0.0, line.index)))
    count = max(len(line.outputs) for line in lines)
    ends = tuple(f"output_{k}_{end}" for k in range(count) for end in ("low", "high"))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (line.index, line.label, line.least, line.lipschitz, line.radius, line.seconds, *(v for pair in line.outputs for v in pair))
        for line in lines
    )
    sheet = Sheet(f"estimate-{run.id}.csv", (*_COLUMNS, *ends), rows)
    broken = sum(line.least is not None and line.least < 0 for line in lines)
    return EstimatePanel(_figure(run, lines, sheet), lines, broken, sheet)


def _figure(run: Run, lines: tuple[EstimateLine, ...], sheet: Sheet) -> Figure | None:
    margins = [(place, line.least) for place, line in enumerate(lines) if line.least is not None]
    radii = [(place, line.radius) for place, line in enumerate(lines) if line.radius is not None]
    drawings = [(title, found) for title, found in (("least margin found", margins), ("estimated radius", radii)) if found]
    if not drawings:
        return None
    drawn = tuple(
        draw(
            _dots(title, found),
            alt=f"{title} of {len(found)} inputs: from {min(v for _, v in found):.4g} to {max(v for _, v in found):.4g}.",
            ident=f"estimate-{run.id}-{position}", size=WIDE,
        )
        for position, (title, found) in enumerate(drawings)
    )  # fmt: skip
    return Figure(
        f"figure-estimate-{run.id}", "Margins and radii by sampling", n_of(len(lines), "input"), drawn, sheet,
        "Inputs by the least margin that was found. The network really has that margin, so the true least one is no larger. "
        "The radius is the CLEVER score: an estimate, which may lie on either side.",
    )  # fmt: skip


def _dots(title: str, found: Points) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        for colour, points in ((ALARM, [p for p in found if p[1] < 0]), (ACCENT, [p for p in found if p[1] >= 0])):
            if points:
                axes.plot(*zip(*points, strict=True), linestyle="none", marker="o", color=colour)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_title(title)
        axes.set_xlabel("input, by margin")
        axes.set_ylabel(title)
        axes.locator_params(axis="x", integer=True)
        axes.yaxis.set_major_formatter("{x:g}")

    return paint
