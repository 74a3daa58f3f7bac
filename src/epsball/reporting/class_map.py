"""Classes on a grid of cells: the regions in colours, the lines between them, and their names."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, RULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Grid = NDArray[np.int64]
    Floats = NDArray[np.float64]

FIRST = ((ACCENT, 0.62), (ACCENT_2, 0.5), (ACCENT_3, 0.62))  # colours of the classes that matter
_OTHERS = ((GREY, 0.5), (RULE, 0.8), (GREY, 0.3), (MUTED, 0.4))
_NAMED = 0.004  # a class is named where it has this share of the cells


def grid_of(cells: Sequence[int], resolution: int) -> Grid:
    """The cells as rows from the bottom."""
    return np.array(cells, dtype=np.int64).reshape(resolution, resolution)


def shares(cells: Sequence[int]) -> str:
    """The largest classes and their shares of the cells, in words."""
    share = {c: float(n) / len(cells) for c, n in zip(*np.unique(cells, return_counts=True), strict=True)}
    return ", ".join(f"class {c} {100 * s:.0f} percent" for c, s in sorted(share.items(), key=lambda item: -item[1])[:6])


def paint_cells(
    axes: Axes, grid: Grid, window: Sequence[float], own: Sequence[int], *, free: NDArray[np.bool_] | None = None
) -> None:
    """Regions, the lines between them and their names, on axes that show the window and nothing else.

    Args:
        axes: to draw on.
        grid: classes, rows from the bottom.
        window: left, right, bottom and top.
        own: the classes that get the first colours.
        free: the cells where a name stands in nothing's way; a class that has no room there is named elsewhere.
    """
    from matplotlib.collections import LineCollection

    _regions(axes, grid, window, own)
    axes.add_collection(LineCollection(borders(grid, window), colors=INK, linewidths=0.8))
    _names(axes, grid, window, np.ones_like(grid, dtype=bool) if free is None else free)
    axes.set_xlim(*window[:2])
    axes.set_ylim(*window[2:])
    axes.set_aspect("equal")
    axes.grid(visible=False)


def colour_of(c: int, own: Sequence[int], others: Sequence[int] = ()) -> tuple[str, float]:
    """Colour and opacity of a class: one of the first for a class that matters, else a grey."""
    first = list(dict.fromkeys(own))
    if c in first:
        return FIRST[first.index(c)]
    return _OTHERS[others.index(c) % len(_OTHERS)] if c in others else _OTHERS[0]


def centres(window: Sequence[float], resolution: int) -> tuple[Floats, Floats]:
    """Both coordinates of every cell's centre, rows from the bottom."""
    left, right, bottom, top = window
    steps = (np.arange(resolution) + 0.5) / resolution
    s, t = np.meshgrid(left + steps * (right - left), bottom + steps * (top - bottom))
    return s, t


def away_from(
    lines: Sequence[Sequence[Sequence[float]]], window: Sequence[float], resolution: int, room: float
) -> NDArray[np.bool_]:
    """The cells whose centres are farther than `room` from every closed polygon."""
    s, t = centres(window, resolution)
    free = np.ones(s.shape, dtype=bool)
    for corners in lines:
        for (x, y), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
            dx, dy = x2 - x, y2 - y
            along = np.clip(((s - x) * dx + (t - y) * dy) / max(dx * dx + dy * dy, 1e-300), 0, 1)
            free &= np.hypot(s - x - along * dx, t - y - along * dy) > room
    return free


def cell_runs(grid: Grid, window: Sequence[float]) -> Iterator[tuple[int, float, float, float, float]]:
    """Cells of one class that follow each other in a row, as (class, left, right, bottom, top)."""
    left, right, bottom, top = window
    rows, columns = grid.shape
    wide, high = (right - left) / columns, (top - bottom) / rows
    for r in range(rows):
        cuts = [0, *(np.flatnonzero(np.diff(grid[r])) + 1).tolist(), columns]
        for a, b in pairwise(cuts):
            yield int(grid[r, a]), left + a * wide, left + b * wide, bottom + r * high, bottom + (r + 1) * high


def borders(grid: Grid, window: Sequence[float]) -> list[list[tuple[float, float]]]:
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


def _regions(axes: Axes, grid: Grid, window: Sequence[float], own: Sequence[int]) -> None:
    from matplotlib.collections import PolyCollection

    others = [c for c in np.unique(grid).tolist() if c not in own]
    cells: dict[int, list[Any]] = {}
    for c, left, right, bottom, top in cell_runs(grid, window):
        cells.setdefault(c, []).append([(left, bottom), (right, bottom), (right, top), (left, top)])
    for c, shapes in cells.items():
        colour, alpha = colour_of(c, own, others)  # by their id the page draws the edges of cells crisp
        axes.add_collection(PolyCollection(shapes, facecolors=colour, alpha=alpha, linewidths=0, gid=f"cells-{c}"))


def _names(axes: Axes, grid: Grid, window: Sequence[float], free: NDArray[np.bool_]) -> None:
    """Each class that has room is named where it is widest."""
    left, right, bottom, top = window
    rows, columns = grid.shape
    for c in np.unique(grid).tolist():
        inside = grid == c
        if inside.mean() < _NAMED:
            continue
        r, k = deepest(inside & free if (inside & free).mean() >= _NAMED else inside)
        at = left + (k + 0.5) / columns * (right - left), bottom + (r + 0.5) / rows * (top - bottom)
        axes.text(*at, str(c), ha="center", va="center", fontsize=10, color=INK)


def deepest(inside: NDArray[np.bool_]) -> tuple[int, int]:
    """The cell of a region that is farthest from its border, counted in steps to the four neighbours."""
    left = np.pad(inside, 1)
    while True:
        core = left[1:-1, 1:-1] & left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        if not core.any():
            r, k = np.argwhere(left[1:-1, 1:-1])[0]
            return int(r), int(k)
        left = np.pad(core, 1)
