"""The figures of a report that need axes. Each comes with its data as a sheet and its meaning in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.analysis.curves import verified_against_eps
from epsball.record.lines import InstanceLine, LayerLine
from epsball.reporting.csv import Sheet
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

WIDE = (4.6, 2.7)
_LOOKS = {
    "attacked": (GREY, ":", "s"),
    "ibp": (ACCENT_3, "-", "o"),
    "crown-ibp": (ACCENT_2, "--", "D"),
    "crown": (ACCENT, "-", "o"),
    "verified": (INK, ":", "s"),
}
_OTHER_LOOKS = ((GREY, "-", "v"), (MUTED, "--", "^"), (ACCENT_2, ":", "P"), (INK, "-.", "X"))
MOST_LAYERS = 24
_BINS = 48


@dataclass(frozen=True)
class Figure:
    """Drawings under one title.

    Attributes:
        id: unique on the page.
        svgs: SVG elements, made here and safe to set into a page.
        sheet: the data.
        caption: how to read it.
        small: many small drawings instead of one.
        legend: names of what the page's own keys stand for.
    """

    id: str
    title: str
    svgs: tuple[str, ...]
    sheet: Sheet
    caption: str
    small: bool = False
    legend: tuple[str, ...] = ()


def _look(name: str, position: int) -> tuple[str, str, str]:
    return _LOOKS.get(name, _OTHER_LOOKS[position % len(_OTHER_LOOKS)])


def short(name: str, most: int = 28) -> str:
    """A name that fits into a drawing."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def margin_figure(run: Run) -> Figure | None:
    """Where the proven margins of each method lie, on one axis; and the margins that the attack found."""
    found = _margins(run.instances)
    if not found:
        return None
    values = np.concatenate([np.array(v) for v in found.values()])
    low, high = (float(q) for q in np.quantile(values, (0.005, 0.995)))
    low, high = min(low, 0.0), max(high, 0.0)
    high = high if high > low else 1.0
    width = (high - low) / _BINS
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)  # zero is an edge: no bin holds both signs
    counts = {name: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for name, v in found.items()}
    svgs = tuple(
        draw(
            _histogram(name, found[name], edges, counts[name], _look(name, position)[0]),
            alt=f"Margins by {name}: {sum(v > 0 for v in found[name]):,} of {len(found[name]):,} lie above zero.",
            ident=f"margin-{run.id}-{position}", size=WIDE,
        )
        for position, name in enumerate(found)
    )  # fmt: skip
    rows = tuple((name, float(edges[i]), float(edges[i + 1]), int(n)) for name in found for i, n in enumerate(counts[name]))
    sheet = Sheet(f"margins-{run.id}.csv", ("method", "from", "to", "inputs"), rows)
    return Figure(
        f"figure-margins-{run.id}", "Distribution by method", svgs, sheet,
        "Proven lower bounds of the margin: an input counts as verified right of zero. A method of the ladder sees only what "
        "earlier steps left over. The outermost 0.5 % on each side are in the end bins.",
    )  # fmt: skip


def _margins(instances: Sequence[InstanceLine]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in instances:
        named: dict[str, float | None] = dict(line.bounds) or {line.by: line.margin}
        for name, value in ({"attacked": line.attacked_margin} | named).items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return found


def _histogram(name: str, values: list[float], edges: np.ndarray, counts: np.ndarray, colour: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=colour)
        axes.axvline(0, color=INK, linewidth=1)
        above = sum(value > 0 for value in values)
        axes.set_title(f"{short(name)}: {above:,} of {len(values):,} above zero")
        axes.set_xlabel("margin")
        axes.set_ylabel("inputs")

    return paint


def layer_figures(run: Run) -> list[Figure]:
    """Mean width of the bounds and share of unstable neurons, by layer and method."""
    lines = run.of(LayerLine)
    names = list(dict.fromkeys(line.name for line in lines))[:MOST_LAYERS]
    methods = list(dict.fromkeys(line.method for line in lines))
    widths = {(line.method, line.name): line.width for line in lines if line.width}
    unstable = {(line.method, line.name): 100 * line.unstable for line in lines if line.unstable is not None}
    figures = []
    for key, title, values, caption in (
        (
            "width",
            "Mean width of the bounds",
            widths,
            "Upper minus lower bound, mean over neurons and inputs; narrower is tighter.",
        ),
        ("unstable", "Unstable neurons", unstable, "Share of neurons whose sign is not known over the ball; fewer is tighter."),
    ):
        if not values:
            continue
        svg = draw(
            _dots(names, methods, values, key),
            alt=f"{title} of {len(names)} layers by {', '.join(methods)}.",
            ident=f"{key}-{run.id}", size=(4.6, 1.2 + 0.32 * len(names)),
        )  # fmt: skip
        rows: tuple[tuple[Cell, ...], ...] = tuple((n, m, values[m, n]) for n in names for m in methods if (m, n) in values)
        sheet = Sheet(f"{key}-{run.id}.csv", ("layer", "method", key), rows)
        figures.append(Figure(f"figure-{key}-{run.id}", title, (svg,), sheet, caption))
    return figures


def _dots(names: list[str], methods: list[str], values: dict[tuple[str, str], float], key: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator

        for place, name in enumerate(names):
            known = [values[m, name] for m in methods if (m, name) in values]
            axes.plot([min(known, default=0), max(known, default=0)], [place, place], color=GREY, linewidth=1, zorder=1)
        for position, method in enumerate(methods):
            places = [place for place, name in enumerate(names) if (method, name) in values]
            colour, _, marker = _look(method, position)
            at = [values[method, names[place]] for place in places]
            axes.plot(at, places, linestyle="", color=colour, marker=marker, markersize=6, label=short(method, 14))
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(names)), [short(name, 20) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x")
        if key == "width":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter("{x:g} %")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, columnspacing=1, handletextpad=0.2)

    return paint


def eps_figure(story: Story) -> Figure | None:
    """Verified accuracy against eps, one curve a method; None unless one model was verified at two radii or more."""
    curves = verified_against_eps([run.summary for run in story.judged if run.summary])
    if not curves:
        return None

    def paint(axes: Axes) -> None:
        for position, ((_, name), points) in enumerate(curves.items()):
            colour, dash, marker = _look(name, position)
            at, values = [p.eps for p in points], [100 * p.value for p in points]
            axes.fill_between(
                at, [100 * p.low for p in points], [100 * p.high for p in points], color=colour, alpha=0.12, linewidth=0
            )
            axes.plot(at, values, color=colour, linestyle=dash, marker=marker, label=short(name))
        axes.set_xlabel("eps")
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    rows = tuple((subject, name, p.eps, p.value, p.low, p.high) for (subject, name), points in curves.items() for p in points)
    alt = f"Verified accuracy against eps, {len(curves)} curves."
    return Figure(
        "figure-eps", "Verified accuracy against eps", (draw(paint, alt=alt, ident="eps", size=WIDE),),
        Sheet("verified-against-eps.csv", ("subject", "method", "eps", "value", "low_95", "high_95"), rows),
        "One curve a method, with 95 % limits.",
    )  # fmt: skip
