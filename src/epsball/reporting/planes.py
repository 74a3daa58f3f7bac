"""Decision boundaries in a plane through three inputs: regions of classes, the lines between them, and the balls' traces."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, ALARM, GREY, INK, MUTED, RULE, draw
from epsball.reporting.figures import Figure, short
from epsball.reporting.lines import PlaneLine
from epsball.reporting.sheet import Sheet, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from epsball.reporting.runs import Run
    from epsball.reporting.sheet import Cell

    Grid = NDArray[np.int64]
_INPUTS = ((ACCENT, 0.62), (ACCENT_2, 0.5), (ACCENT_3, 0.62))  # the classes of the three inputs
_OTHERS = ((GREY, 0.5), (RULE, 0.8), (GREY, 0.3), (MUTED, 0.4))
_NAMED = 0.004  # a class is named where it has this share of the cells


def plane_figure(run: Run) -> Figure | None:
    """One drawing a network, side by side; None for a run without planes."""
    lines = run.of(PlaneLine)
    if not lines:
        return None
    svgs = tuple(
        draw(_plane(line), alt=_told(line), ident=f"plane-{run.id}-{position}", size=(4.4, 4.5))
        for position, line in enumerate(lines)
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (line.network, *cell) for line in lines for cell in _runs(_grid(line), line.window)
    )  # fmt: skip
    first = lines[0]
    verifier = f" by {first.verifier}" if first.verifier else ""
    return Figure(
        f"figure-plane-{run.id}", "Classes in a plane through three inputs", svgs,
        Sheet(f"plane-{run.id}.csv", ("network", "class", "left", "right", "bottom", "top"), rows),
        f"Test examples {', '.join(map(str, first.index))} of {first.data or 'the data set'}; axes are Euclidean distances, "
        f"numbers are classes. Around each input the trace of its ball of radius {number(first.eps)}, cut to the valid range: "
        f"solid where the network is verified{verifier} on the whole ball, dotted where it is not. Dashed: where valid inputs end. "
        "A plane is a tiny part of the input space: it can show that a ball is broken, never that it is safe.",
    )  # fmt: skip


def _told(line: PlaneLine) -> str:
    share = {c: float(n) / len(line.classes) for c, n in zip(*np.unique(line.classes, return_counts=True), strict=True)}
    parts = ", ".join(f"class {c} {100 * s:.0f} percent" for c, s in sorted(share.items(), key=lambda item: -item[1])[:6])
    return f"{line.network} in the plane of inputs {', '.join(map(str, line.index))}: {parts}."


def _grid(line: PlaneLine) -> Grid:
    return np.array(line.classes, dtype=np.int64).reshape(line.resolution, line.resolution)


def _runs(grid: Grid, window: list[float]) -> Iterator[tuple[int, float, float, float, float]]:
    """Cells of one class that follow each other in a row, as (class, left, right, bottom, top)."""
    left, right, bottom, top = window
    rows, columns = grid.shape
    wide, high = (right - left) / columns, (top - bottom) / rows
    for r in range(rows):
        cuts = [0, *(np.flatnonzero(np.diff(grid[r])) + 1).tolist(), columns]
        for a, b in pairwise(cuts):
            yield int(grid[r, a]), left + a * wide, left + b * wide, bottom + r * high, bottom + (r + 1) * high


def _borders(grid: Grid, window: list[float]) -> list[list[tuple[float, float]]]:
    """Line segments between cells of different classes, joined along each line of the grid."""
    left, right, bottom, top = window
    rows, columns = grid.shape
    wide, high = (right - left) / columns, (top - bottom) / rows
    found: list[list[tuple[float, float]]] = []
    for r in range(1, rows):
        y = bottom + r * high
        found += [[(left + a * wide, y), (left + b * wide, y)] for a, b in _stretches(grid[r] != grid[r - 1])]
    for c in range(1, columns):
        x = left + c * wide
        found += [[(x, bottom + a * high), (x, bottom + b * high)] for a, b in _stretches(grid[:, c] != grid[:, c - 1])]
    return found


def _stretches(marked: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _plane(line: PlaneLine) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        grid = _grid(line)
        _regions(axes, grid, line)
        from matplotlib.collections import LineCollection

        axes.add_collection(LineCollection(_borders(grid, line.window), colors=INK, linewidths=0.8))
        if line.valid:
            axes.plot(*_closed(line.valid), color=MUTED, linestyle="--", linewidth=0.9)
        for (x, y), trace, verified in zip(line.points, line.traces, line.verified, strict=True):
            axes.plot(*_closed(trace), color=INK if verified else ALARM, linestyle="-" if verified else ":", linewidth=1.4)
            axes.plot([x], [y], color=INK if verified else ALARM, marker="o", markersize=3.5)
        _names(axes, grid, line)
        axes.set_title(short(line.network, 40))
        axes.set_xlim(*line.window[:2])
        axes.set_ylim(*line.window[2:])
        axes.set_aspect("equal")
        axes.grid(visible=False)

    return paint


def _regions(axes: Axes, grid: Grid, line: PlaneLine) -> None:
    from matplotlib.collections import PolyCollection

    own = list(dict.fromkeys(line.labels))
    others = [c for c in np.unique(grid).tolist() if c not in own]
    cells: dict[int, list[Any]] = {}
    for c, left, right, bottom, top in _runs(grid, line.window):
        cells.setdefault(c, []).append([(left, bottom), (right, bottom), (right, top), (left, top)])
    for c, shapes in cells.items():
        colour, alpha = _INPUTS[own.index(c)] if c in own else _OTHERS[others.index(c) % len(_OTHERS)]
        axes.add_collection(PolyCollection(shapes, facecolors=colour, alpha=alpha, linewidths=0))


def _closed(corners: list[list[float]]) -> tuple[list[float], list[float]]:
    round_trip = [*corners, corners[0]]
    return [x for x, _ in round_trip], [y for _, y in round_trip]


def _names(axes: Axes, grid: Grid, line: PlaneLine) -> None:
    """Each class that has room is named where it is widest."""
    left, right, bottom, top = line.window
    rows, columns = grid.shape
    for c in np.unique(grid).tolist():
        inside = grid == c
        if inside.mean() < _NAMED:
            continue
        r, k = _deepest(inside)
        at = left + (k + 0.5) / columns * (right - left), bottom + (r + 0.5) / rows * (top - bottom)
        axes.text(*at, str(c), ha="center", va="center", fontsize=10, color=INK)


def _deepest(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """The cell of a region that is farthest from its border, counted in steps to the four neighbours."""
    left = np.pad(inside, 1)
    while True:
        core = left[1:-1, 1:-1] & left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        if not core.any():
            r, k = np.argwhere(left[1:-1, 1:-1])[0]
            return int(r), int(k)
        left = np.pad(core, 1)
