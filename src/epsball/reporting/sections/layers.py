"""The section of layers: how wide the bounds that enter each non-linear layer are, by method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import LayerLine
from epsball.reporting.csv import Cell, Sheet, n_of
from epsball.reporting.drawing import GREY, draw
from epsball.reporting.figures import MOST_LAYERS, Figure, look, short
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from epsball.reporting.runs import Run, Story


@sections.register("layers")
@dataclass(frozen=True)
class LayersSection(Section):
    """Width of the bounds and unstable neurons, layer by layer."""

    title: str = "Tightness by layer"
    short: str = "Layers"
    place: int = 900
    missing: str = "No bounds of layers in these runs."
    command: str = "epsball bounds {model} --data {data} --index 0 --eps {eps}"

    def content(self, story: Story) -> Content:
        return given(layers=[(run, layer_figures(run), run.of(LayerLine), _layer_sheet(run)) for run in story.having(LayerLine)])


def layer_figures(run: Run) -> list[Figure]:
    """Mean width of the bounds and share of unstable neurons, by layer and method."""
    lines = run.of(LayerLine)
    names = list(dict.fromkeys(line.name for line in lines))[:MOST_LAYERS]
    methods = list(dict.fromkeys(line.method for line in lines))
    widths = {(line.method, line.name): line.width for line in lines if line.width}
    unstable = {(line.method, line.name): 100 * line.unstable for line in lines if line.unstable is not None}
    figures = []
    n = n_of(len(names), "layer")
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
        drawing = draw(
            _dots(names, methods, values, key),
            alt=f"{title} of {len(names)} layers by {', '.join(methods)}.",
            ident=f"{key}-{run.id}", size=(4.6, 1.2 + 0.32 * len(names)),
        )  # fmt: skip
        rows: tuple[tuple[Cell, ...], ...] = tuple((n, m, values[m, n]) for n in names for m in methods if (m, n) in values)
        sheet = Sheet(f"{key}-{run.id}.csv", ("layer", "method", key), rows)
        figures.append(Figure(f"figure-{key}-{run.id}", title, n, (drawing,), sheet, caption))
    return figures


def _dots(names: list[str], methods: list[str], values: dict[tuple[str, str], float], key: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator

        for place, name in enumerate(names):
            known = [values[m, name] for m in methods if (m, name) in values]
            axes.plot([min(known, default=0), max(known, default=0)], [place, place], color=GREY, linewidth=1, zorder=1)
        for position, method in enumerate(methods):
            places = [place for place, name in enumerate(names) if (method, name) in values]
            colour, _, marker = look(method, position)
            at = [values[method, names[place]] for place in places]
            axes.plot(at, places, linestyle="", color=colour, marker=marker, markersize=6, label=short(method, 14))
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(names)), [short(name, 20) for name in names])
        axes.set_ylabel("layer")
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x")
        if key == "width":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
            axes.set_xlabel("mean width")
        else:
            axes.set_xlim(left=0)
            axes.set_xlabel("unstable neurons")
            axes.xaxis.set_major_formatter("{x:g} %")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, columnspacing=1, handletextpad=0.2)

    return paint


def _layer_sheet(run: Run) -> Sheet:
    columns = ("name", "op", "method", "neurons", "width", "active", "inactive", "unstable", "seconds")
    rows: tuple[tuple[Cell, ...], ...] = tuple(tuple(getattr(line, key) for key in columns) for line in run.of(LayerLine))
    return Sheet(f"layers-{run.id}.csv", columns, rows)
