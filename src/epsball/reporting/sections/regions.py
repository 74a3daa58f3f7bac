"""Decision regions around one input under smoothing noise, and beside them how its noisy copies vote.

After Figure 1 of Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from epsball.record.lines import RegionsLine
from epsball.reporting.class_map import cell_runs, centres, colour_of, grid_of, paint_cells, shares
from epsball.reporting.csv import Sheet, n_of, number
from epsball.reporting.drawing import INK, MUTED, draw
from epsball.reporting.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run

_MOST_BARS = 10
_LEVELS = (1, 2, 3)  # in sigma
_ROOM = 3.2  # names stand outside the level sets, where there is room


def region_figures(run: Run) -> tuple[Figure, ...]:
    """The plane and the votes of each input that the run drew; none for a run of another kind."""
    return tuple(
        figure
        for position, line in enumerate(run.of(RegionsLine), 1)
        for figure in (_plane(line, f"{run.id}-{position}"), _votes(line, f"{run.id}-{position}"))
    )


def _own(line: RegionsLine) -> list[int]:
    """The classes that both drawings colour alike: the top one and those that the axes lead to."""
    return [line.top, *(c for c in line.towards if c is not None)]


def _example(line: RegionsLine) -> str:
    return f"test example {line.index}" + (f" of {line.data}" if line.data else "")


def _plane(line: RegionsLine, ident: str) -> Figure:
    grid = grid_of(line.classes, line.resolution)
    certified = f"certified within {number(line.radius)}" if line.smoothed is not None else "not certified"
    alt = f"The base classifier around {_example(line)}: {shares(line.classes)}. The smoothed classifier is {certified}."
    rows: tuple[tuple[Cell, ...], ...] = tuple(cell_runs(grid, line.window))
    return Figure(
        f"figure-regions-{ident}", "Decision regions under the noise", n_of(1, "input"),
        (draw(_painted(line), alt=alt, ident=f"regions-{ident}", size=(4.6, 4.5)),),
        Sheet(f"regions-{ident}.csv", ("class", "left", "right", "bottom", "top"), rows),
        _caption(line),
    )  # fmt: skip


def _caption(line: RegionsLine) -> str:
    ways = [c for c in line.towards if c is not None]
    rivals = " and ".join(map(str, ways))
    spanned = f"the directions in which the noisy expectation of class {line.top} falls fastest towards {rivals}" if ways else ""
    drawn = ("one direction" if ways else "two directions") + " drawn by chance" if len(ways) < 2 else ""
    circle = (
        f"Solid: the certified {line.norm} radius, {number(line.radius)}: within it the smoothed classifier says {line.smoothed}, "
        "whatever the base classifier does there."
        if line.smoothed is not None
        else "The smoothed classifier abstains here: no radius is certified."
    )
    length = f"σ√{line.size} = {number(line.sigma * math.sqrt(line.size), 3)}"
    return (
        f"Classes that the base classifier {line.network} gives in a plane through {_example(line)} (label {line.label}), spanned "
        f"by {' and '.join(part for part in (spanned, drawn) if part)}; lengths are Euclidean. Dotted: level sets of the noise at "
        f"1, 2 and 3 times σ = {number(line.sigma)}. {circle} This is a slice through x: the noise fills all {line.size:,} "
        f"dimensions and is about {length} long, so nearly all votes are cast off this plane."
    )


def _painted(line: RegionsLine) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        from matplotlib.patches import Circle

        away = np.hypot(*centres(line.window, line.resolution)) > _ROOM * line.sigma
        paint_cells(axes, grid_of(line.classes, line.resolution), line.window, _own(line), free=away)
        for level in _LEVELS:
            axes.add_patch(Circle((0, 0), level * line.sigma, fill=False, color=INK, linestyle=(0, (1, 2)), linewidth=1.2))
            place = level * line.sigma * math.sqrt(0.5)
            axes.annotate(f"{level} σ", (place, -place), (3, -1), textcoords="offset points", fontsize=8, color=INK, va="top")
        if line.smoothed is not None:
            axes.add_patch(Circle((0, 0), line.radius, fill=False, color=INK, linewidth=2.2))
        axes.plot([0], [0], "o", color=INK, markersize=4)
        axes.annotate("x", (0, 0), (5, 3), textcoords="offset points", fontsize=10, fontstyle="italic", color=INK)
        axes.set_xlabel(_way(line.towards[0]))
        axes.set_ylabel(_way(line.towards[1]))

    return paint


def _way(rival: int | None) -> str:
    return "a direction drawn by chance" if rival is None else f"towards class {rival} →"


def _votes(line: RegionsLine, ident: str) -> Figure:
    """Shares of the noisy votes with their limits, the most voted classes first."""
    order = sorted(range(len(line.votes)), key=lambda c: (-line.votes[c], c))
    shown = order[:_MOST_BARS]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (c, line.votes[c], line.votes[c] / line.samples, line.low[c], line.high[c]) for c in order
    )  # fmt: skip
    alt = f"Noisy votes: {', '.join(f'class {c} {100 * line.votes[c] / line.samples:.1f} percent' for c in shown[:4])}."
    left = len(order) - len(shown)
    others = f" {left:,} other classes got {sum(line.votes[c] for c in order[_MOST_BARS:]):,} votes." if left else ""
    lost = line.samples - sum(line.votes)
    invalid = f" {lost:,} outputs were NaN, which is no class." if lost else ""
    verdict = (
        f"p_A = {number(line.p_a)} certifies class {line.smoothed}: σ Φ⁻¹(p_A) = {number(line.radius)}."
        if line.smoothed is not None
        else "No class is proven to get more than half of the votes, so the smoothed classifier abstains."
    )
    return Figure(
        f"figure-region-votes-{ident}", "How the noisy copies vote", n_of(line.samples, "vote"),
        (draw(_bars(line, shown), alt=alt, ident=f"region-votes-{ident}", size=(4.6, 4.5)),),
        Sheet(f"region-votes-{ident}.csv", ("class", "votes", "share", "low", "high"), rows),
        f"Share of {line.samples:,} copies under {line.noise or 'the noise'} that the base classifier gives each class. Whiskers: "
        f"one-sided Clopper–Pearson limits, each wrong with probability at most {number(line.alpha)}; the line stands at one half. "
        f"{verdict}{others}{invalid}",
    )  # fmt: skip


def _bars(line: RegionsLine, shown: list[int]) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        for place, c in enumerate(shown):
            colour, alpha = colour_of(c, _own(line))
            share = line.votes[c] / line.samples
            axes.barh(place, share, height=0.66, color=colour, alpha=alpha, linewidth=0)
            axes.plot([line.low[c], line.high[c]], [place, place], color=INK, linewidth=1.2, marker="|", markersize=7)
        axes.axvline(0.5, color=MUTED, linewidth=0.9)
        if line.smoothed is not None:
            axes.axvline(line.p_a, color=INK, linewidth=1.3, linestyle="--")
            side, way = ("right", -5) if line.p_a > 0.5 else ("left", 5)
            axes.annotate(
                f"p_A = {line.p_a:.4f}", (line.p_a, -0.65), (way, 0), textcoords="offset points", ha=side, va="center", color=INK
            )  # fmt: skip
        axes.set_yticks(range(len(shown)), [f"{c}" + (" (label)" if c == line.label else "") for c in shown])
        axes.set_ylim(len(shown) - 0.4, -1)
        axes.set_xlim(0, 1)
        axes.set_ylabel("class")
        axes.set_xlabel("share of the noisy votes")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x")

    return paint
