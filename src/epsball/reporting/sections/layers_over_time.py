"""Layers over training time: the ReLUs of the whole network, run beside run, and how tight each layer's bounds are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from epsball.record.lines import ReluLine, TightnessLine
from epsball.reporting.csv import Sheet, n_of, number, percent
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, draw
from epsball.reporting.figures import WIDE, Figure, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from epsball.record.lines import LayerSpread
    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

    Points = list[tuple[float, float]]
_LOOKS = ((ACCENT, "-"), (INK, "--"), (ACCENT_2, "-."), (ACCENT_3, ":"), (MUTED, "-"), (GREY, "--"))
_STATES = ("active", "unstable", "inactive")


def relu_figure(story: Story) -> Figure | None:
    """Active, unstable and inactive ReLUs of whole networks by epoch, a curve a run: Figure 3.2 of the thesis."""
    every = [(run.name, [(line.epoch, _whole(line)) for line in run.of(ReluLine) if line.layers]) for run in story.having(ReluLine)]
    shares = [(name, points) for name, points in every if points]
    if not shares:
        return None
    drawings = tuple(
        draw(
            _curves([(name, [(epoch, 100 * share[k]) for epoch, share in points]) for name, points in shares], state),
            alt=f"{state} ReLUs at the end: "
            + "; ".join(f"{name} {percent(points[-1][1][k])} percent" for name, points in shares),
            ident=f"relu-whole-{state}", size=(3.1, 2.4),
        )
        for k, state in enumerate(_STATES)
    )  # fmt: skip
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, epoch, *share) for name, points in shares for epoch, share in points)
    return Figure(
        "figure-relu-whole", "ReLUs of the whole network", n_of(len(shares), "run"), drawings,
        Sheet("relu-whole.csv", ("run", "epoch", *_STATES), rows),
        "Shares of all ReLUs, every layer by its number of neurons, at the radius in force after each epoch: while the radius is 0 "
        "none is unstable.",
        small=True,
    )  # fmt: skip


def _whole(line: ReluLine) -> tuple[float, ...]:
    """Shares over all neurons; layers count alike in a record that does not say how many they have."""
    weights = [layer.neurons for layer in line.layers]
    weights = weights if all(weights) else [1] * len(weights)
    total = sum(weights)
    return tuple(sum(w * getattr(layer, s) for w, layer in zip(weights, line.layers, strict=True)) / total for s in _STATES)


def _curves(curves: list[tuple[str, Points]], title: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        for position, (name, points) in enumerate(curves):
            colour, dash = _LOOKS[position % len(_LOOKS)]
            marker = "o" if len(points) < 25 else ""
            axes.plot(
                *zip(*points, strict=True), color=colour, linestyle=dash, marker=marker, markersize=2.5, label=short(name, 20)
            )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_ylabel("share of the ReLUs")
        axes.locator_params(axis="x", integer=True)
        axes.set_ylim(0, 100)
        axes.yaxis.set_major_formatter("{x:g} %")
        if len(curves) > 1:
            axes.legend().set_in_layout(False)

    return paint


def tightness_figures(run: Run) -> list[Figure]:
    """How wide each layer's bounds are by epoch: in widths of the input's box, and in spreads of the layer's clean values."""
    lines = run.of(TightnessLine)
    return [
        figure
        for figure in (
            _tightness(
                run, lines, "growth", "Width over the input's", lambda layer, first: _over(layer.width, first),
                "Mean width of what enters each ReLU over that of the input's box. The thesis keeps it near 1 at the start (its "
                "initialisation, on networks without batch norm) and below 1 / tau in the warm-up (its first regulariser).",
            ),
            _tightness(
                run, lines, "blur", "Width over clean spread", lambda layer, _: _over(layer.width, layer.spread),
                "Mean width of what enters each ReLU over the deviation of its clean values from example to example: the scale of "
                "the weights cancels. Above a few units the bounds of different examples overlap.",
            ),
        )
        if figure is not None
    ]  # fmt: skip


def _over(value: float | None, by: float | None) -> float | None:
    return value / by if by and value and by > 0 and value > 0 else None


def _tightness(
    run: Run,
    lines: list[TightnessLine],
    key: str,
    title: str,
    ratio: Callable[[LayerSpread, float | None], float | None],
    caption: str,
) -> Figure | None:
    names = list(dict.fromkeys(layer.name for line in lines for layer in line.layers))
    curves: dict[str, Points] = {name: [] for name in names}
    for line in lines:
        for layer in line.layers:
            found = ratio(layer, line.input)
            if found is not None:
                curves[layer.name].append((line.epoch, found))
    known = {name: points for name, points in curves.items() if points}
    if not known:
        return None
    told = "; ".join(f"{name} from {number(p[0][1], 3)} to {number(p[-1][1], 3)}" for name, p in known.items())
    drawing = draw(_deeper(known, title), alt=f"{title}: {told}.", ident=f"{key}-{run.id}", size=WIDE)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (line.epoch, layer.name, layer.width, layer.spread, line.input, line.eps, ratio(layer, line.input))
        for line in lines
        for layer in line.layers
    )
    columns = ("epoch", "layer", "width", "spread", "input_width", "eps", "ratio")
    where = f" Interval bounds at eps {number(lines[-1].eps)} in every epoch; epoch 0 is before the first step."
    sheet = Sheet(f"{key}-{run.id}.csv", columns, rows)
    return Figure(f"figure-{key}-{run.id}", f"{title}, by layer", n_of(len(known), "layer"), (drawing,), sheet, caption + where)


def _decades(curves: dict[str, Points]) -> float:
    values = [value for points in curves.values() for _, value in points]
    return math.log10(max(values) / min(values))


def _deeper(curves: dict[str, Points], what: str) -> Callable[[Axes], None]:
    """One curve a layer, the deeper the darker; the first and the last are named."""

    def paint(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator

        count = len(curves)
        for place, (name, points) in enumerate(curves.items()):
            last = place == count - 1
            alpha = 1.0 if last else 0.25 + 0.6 * place / max(1, count - 1)
            marker = "o" if len(points) < 25 else ""
            label = f"{'last: ' if last else 'first: '}{short(name, 18)}" if place in (0, count - 1) else None
            axes.plot(*zip(*points, strict=True), color=ACCENT, alpha=alpha, marker=marker, markersize=2.5, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if _decades(curves) < 3 else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("epoch")
        axes.set_ylabel(what[0].lower() + what[1:])
        axes.locator_params(axis="x", integer=True)
        axes.legend().set_in_layout(False)

    return paint
