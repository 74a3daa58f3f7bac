"""The section of decision boundaries in a plane through three inputs: regions of classes, and traces of balls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import PlaneLine
from epsball.reporting.class_map import away_from, cell_runs, grid_of, paint_cells, shares
from epsball.reporting.csv import Sheet, n_of, number
from epsball.reporting.drawing import ALARM, INK, MUTED, draw
from epsball.reporting.figures import Figure, short
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

_ROOM = 0.04  # between the name of a class and any line, in widths of the window


@sections.register("planes")
@dataclass(frozen=True)
class PlanesSection(Section):
    """What networks make of a plane through three inputs."""

    title: str = "Decision boundaries"
    short: str = "Boundaries"
    place: int = 800
    missing: str = "No plane through inputs in these runs."
    command: str = "epsball analyse plane {model}"

    def content(self, story: Story) -> Content:
        return given(planes=[(run, figure) for run in story.runs if (figure := plane_figure(run)) is not None])


def plane_figure(run: Run) -> Figure | None:
    """One drawing a network, side by side; None for a run without planes."""
    lines = run.of(PlaneLine)
    if not lines:
        return None
    drawings = tuple(
        draw(_plane(line), alt=_told(line), ident=f"plane-{run.id}-{position}", size=(4.4, 4.5))
        for position, line in enumerate(lines)
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (line.network, *cell) for line in lines for cell in cell_runs(grid_of(line.classes, line.resolution), line.window)
    )  # fmt: skip
    first = lines[0]
    verifier = f" by {first.verifier}" if first.verifier else ""
    return Figure(
        f"figure-plane-{run.id}", "Classes in a plane through three inputs", n_of(len(lines), "network"), drawings,
        Sheet(f"plane-{run.id}.csv", ("network", "class", "left", "right", "bottom", "top"), rows),
        f"Test examples {', '.join(map(str, first.index))} of {first.data or 'the data set'}; axes are Euclidean distances, "
        f"numbers are classes. Around each input the trace of its ball of radius {number(first.eps)}, cut to the valid range: "
        f"solid where the network is verified{verifier} on the whole ball, dotted where it is not. Dashed: where valid inputs end. "
        "A plane is a tiny part of the input space: it can show that a ball is broken, never that it is safe.",
    )  # fmt: skip


def _told(line: PlaneLine) -> str:
    return f"{line.network} in the plane of inputs {', '.join(map(str, line.index))}: {shares(line.classes)}."


def _plane(line: PlaneLine) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        drawn = [*line.traces, *([line.valid] if line.valid else [])]
        room = _ROOM * (line.window[1] - line.window[0])
        free = away_from(drawn, line.window, line.resolution, room)
        paint_cells(axes, grid_of(line.classes, line.resolution), line.window, line.labels, free=free)
        if line.valid:
            axes.plot(*_closed(line.valid), color=MUTED, linestyle="--", linewidth=0.9)
        for (x, y), trace, verified in zip(line.points, line.traces, line.verified, strict=True):
            axes.plot(*_closed(trace), color=INK if verified else ALARM, linestyle="-" if verified else ":", linewidth=1.4)
            axes.plot([x], [y], color=INK if verified else ALARM, marker="o", markersize=3.5)
        axes.set_title(short(line.network, 40))
        axes.set_xlabel("distance along the first two inputs")
        axes.set_ylabel("distance across")

    return paint


def _closed(corners: list[list[float]]) -> tuple[list[float], list[float]]:
    round_trip = [*corners, corners[0]]
    return [x for x, _ in round_trip], [y for _, y in round_trip]
