"""The figures of a report that need axes. Each comes with its data as a sheet and its meaning in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.analysis.curves import verified_against_eps
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, RULE, draw
from epsball.reporting.lines import Epoch, Instance, Layer, Metrics, Relu, ReluShares
from epsball.reporting.sheet import Sheet, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from epsball.reporting.runs import Run, Story
    from epsball.reporting.sheet import Cell

_WIDE, _SMALL = (4.6, 2.7), (3.1, 1.9)
_LOOKS = {
    "attacked": (GREY, ":", "s"),
    "ibp": (ACCENT_3, "-", "o"),
    "crown-ibp": (ACCENT_2, "--", "D"),
    "crown": (ACCENT, "-", "o"),
}
_OTHER_LOOKS = ((GREY, "-", "v"), (MUTED, "--", "^"), (ACCENT_2, ":", "P"), (INK, "-.", "X"))
_MOST_LAYERS = 24
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


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def training_figures(run: Run) -> list[Figure]:
    """Loss, accuracies, schedules, and the ReLUs of each layer over time; only those that the record has."""
    scale = _epochs_per_step(run)
    made = (_losses(run, scale), _accuracy_curves(run, scale), *_schedules(run, scale), _relu_curves(run))
    return [figure for figure in made if figure is not None]


def _epochs_per_step(run: Run) -> float | None:
    """How far one step goes, from the lines that know both; None where no line does."""
    lines = run.of(Epoch)
    if len(lines) > 1 and lines[-1].step > lines[0].step and lines[-1].epoch > lines[0].epoch:
        return (lines[-1].epoch - lines[0].epoch) / (lines[-1].step - lines[0].step)
    return lines[0].epoch / lines[0].step if lines and lines[0].step and lines[0].epoch else None


def _time(steps: Sequence[int], scale: float | None) -> tuple[list[float], str]:
    return ([float(s) for s in steps], "step") if scale is None else ([s * scale for s in steps], "epoch")


def _label(axes: Axes, unit: str) -> None:
    axes.set_xlabel(unit)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _losses(run: Run, scale: float | None) -> Figure | None:
    lines = [line for line in run.of(Metrics) if line.loss is not None]
    if not lines:
        return None
    times, unit = _time([line.step for line in lines], scale)
    names = list(dict.fromkeys(name for line in lines for name in line.parts))
    shades = ((ACCENT, "-"), (ACCENT_2, "--"), (ACCENT_3, "-"), (GREY, "--"), (MUTED, ":"))

    def paint(axes: Axes) -> None:
        for position, name in enumerate(names):
            colour, dash = shades[position % len(shades)]
            values = [_gap(line.parts.get(name)) for line in lines]
            axes.plot(times, values, color=colour, linestyle=dash, linewidth=1.3, label=_short(name))
        axes.plot(times, [_gap(line.loss) for line in lines], color=INK, label="total")
        _label(axes, unit)
        axes.legend(ncols=2)

    alt = f"Training loss by {unit}: from {number(lines[0].loss)} to {number(lines[-1].loss)}; parts: {', '.join(names) or 'none'}."
    rows = tuple((line.step, line.loss, *(line.parts.get(name) for name in names)) for line in lines)
    return Figure(
        f"figure-loss-{run.id}", "Loss and its parts", (draw(paint, alt=alt, ident=f"loss-{run.id}", size=_WIDE),),
        Sheet(f"loss-{run.id}.csv", ("step", "total", *names), rows), "The objective, and the parts that the recipe logs.",
    )  # fmt: skip


def _gap(value: float | None) -> float:
    return float("nan") if value is None else value


def _accuracy_curves(run: Run, scale: float | None) -> Figure | None:
    lines = run.of(Epoch)
    if not lines:
        return None
    times, unit = _time([line.step for line in lines], scale)
    last = lines[-1]

    def paint(axes: Axes) -> None:
        for values, colour, label in (
            ([line.clean for line in lines], INK, "clean"),
            ([line.verified for line in lines], ACCENT, f"verified ({last.verifier or 'one method'})"),
        ):
            if any(value is not None for value in values):
                axes.plot(times, [100 * _gap(v) for v in values], color=colour, marker="o", markersize=3, label=_short(label))
        _label(axes, unit)
        axes.set_ylim(top=min(100.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    alt = f"Accuracy by {unit}: at the end {percent(last.clean)} percent clean and {percent(last.verified)} percent verified."
    rows = tuple((line.epoch, line.step, line.clean, line.verified) for line in lines)
    return Figure(
        f"figure-epochs-{run.id}", "Accuracy", (draw(paint, alt=alt, ident=f"epochs-{run.id}", size=_WIDE),),
        Sheet(f"epochs-{run.id}.csv", ("epoch", "step", "clean", "verified"), rows),
        f"On the {last.split or 'held-out'} split, after each epoch.",
    )  # fmt: skip


def _schedules(run: Run, scale: float | None) -> list[Figure | None]:
    return [
        _schedule(run, scale, "eps", "Perturbation radius", [line.eps for line in run.of(Metrics)]),
        _schedule(run, scale, "lr", "Learning rate", [line.lr for line in run.of(Metrics)]),
    ]


def _schedule(run: Run, scale: float | None, key: str, title: str, values: list[float | None]) -> Figure | None:
    steps = [line.step for line in run.of(Metrics)]
    known = [value for value in values if value is not None]
    if not known:
        return None
    times, unit = _time(steps, scale)

    def paint(axes: Axes) -> None:
        axes.plot(times, [_gap(v) for v in values], color=ACCENT if key == "eps" else INK)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:g}")
        _label(axes, unit)
        axes.set_ylabel(key)

    alt = f"{title} by {unit}: from {number(known[0])} to {number(known[-1])}, at most {number(max(known))}."
    return Figure(
        f"figure-{key}-{run.id}", title, (draw(paint, alt=alt, ident=f"{key}-{run.id}", size=(4.6, 1.9)),),
        Sheet(f"{key}-{run.id}.csv", ("step", key), tuple(zip(steps, values, strict=True))), "The schedule as it was run.",
    )  # fmt: skip


def _relu_curves(run: Run) -> Figure | None:
    lines = run.of(Relu)
    names = list(dict.fromkeys(layer.name for line in lines for layer in line.layers))
    if not names:
        return None
    series: dict[str, list[tuple[float, ReluShares]]] = {name: [] for name in names}
    for line in lines:
        for layer in line.layers:
            series[layer.name].append((line.epoch, layer))
    svgs = tuple(
        draw(
            _relu_layer(name, series[name]),
            alt=f"Layer {name}: {percent(series[name][-1][1].unstable)} percent of its ReLUs are unstable at the end.",
            ident=f"relu-{run.id}-{position}", size=_SMALL,
        )
        for position, name in enumerate(names[:_MOST_LAYERS])
    )  # fmt: skip
    rows = tuple((epoch, n, s.active, s.inactive, s.unstable) for n, points in series.items() for epoch, s in points)
    more = f" The first {_MOST_LAYERS} of {len(names)} layers are drawn; the data have all." if len(names) > _MOST_LAYERS else ""
    return Figure(
        f"figure-relu-{run.id}", "ReLUs of each layer", svgs,
        Sheet(f"relu-{run.id}.csv", ("epoch", "layer", "active", "inactive", "unstable"), rows),
        "Share of neurons that are always on, of either sign, or always off over the whole ball, by epoch." + more,
        small=True, legend=("active", "unstable", "inactive"),
    )  # fmt: skip


def _relu_layer(name: str, points: list[tuple[float, ReluShares]]) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        epochs = [epoch for epoch, _ in points]
        shares = [[100 * getattr(s, key) for _, s in points] for key in ("active", "unstable", "inactive")]
        if len(epochs) == 1:
            epochs, shares = [epochs[0] - 0.5, epochs[0] + 0.5], [2 * share for share in shares]
        axes.stackplot(epochs, shares, colors=(GREY, ACCENT, RULE), linewidth=0)
        axes.set_title(_short(name))
        axes.set_ylim(0, 100)
        axes.set_xlim(epochs[0], epochs[-1])
        axes.yaxis.set_major_formatter("{x:g} %")

    return paint


def margin_figure(run: Run) -> Figure | None:
    """Where the proven margins of each method lie, on one axis; and the margins that the attack found."""
    found = _margins(run.instances)
    if not found:
        return None
    values = np.concatenate([np.array(v) for v in found.values()])
    low, high = (float(q) for q in np.quantile(values, (0.005, 0.995)))
    low, high = min(low, 0.0), max(high, 0.0)
    width = (high - low or 1.0) / _BINS
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)  # zero is an edge: no bin holds both signs
    counts = {name: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for name, v in found.items()}
    svgs = tuple(
        draw(
            _histogram(name, found[name], edges, counts[name], _look(name, position)[0]),
            alt=f"Margins by {name}: {sum(v > 0 for v in found[name]):,} of {len(found[name]):,} lie above zero.",
            ident=f"margin-{run.id}-{position}", size=_WIDE,
        )
        for position, name in enumerate(found)
    )  # fmt: skip
    rows = tuple((name, float(edges[i]), float(edges[i + 1]), int(n)) for name in found for i, n in enumerate(counts[name]))
    return Figure(
        f"figure-margins-{run.id}", "Distribution by method", svgs, Sheet(f"margins-{run.id}.csv", ("method", "from", "to", "inputs"), rows),
        "Proven lower bounds of the margin: an input counts as verified right of zero. A method of the ladder sees only what "
        "earlier steps left over. The outermost 0.5 % on each side are in the end bins.",
    )  # fmt: skip


def _margins(instances: Sequence[Instance]) -> dict[str, list[float]]:
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
        axes.set_title(f"{_short(name)}: {above:,} of {len(values):,} above zero")
        axes.set_xlabel("margin")
        axes.set_ylabel("inputs")

    return paint


def layer_figures(run: Run) -> list[Figure]:
    """Mean width of the bounds and share of unstable neurons, by layer and method."""
    lines = run.of(Layer)
    names = list(dict.fromkeys(line.name for line in lines))[:_MOST_LAYERS]
    methods = list(dict.fromkeys(line.method for line in lines))
    widths = {(line.method, line.name): line.width for line in lines if line.width}
    unstable = {(line.method, line.name): 100 * line.unstable for line in lines if line.unstable is not None}
    figures = []
    for key, title, values, caption in (
        ("width", "Mean width of the bounds", widths, "Upper minus lower bound, mean over neurons and inputs; narrower is tighter."),
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
        for place, name in enumerate(names):
            known = [values[m, name] for m in methods if (m, name) in values]
            axes.plot([min(known, default=0), max(known, default=0)], [place, place], color=GREY, linewidth=1, zorder=1)
        for position, method in enumerate(methods):
            places = [place for place, name in enumerate(names) if (method, name) in values]
            colour, _, marker = _look(method, position)
            at = [values[method, names[place]] for place in places]
            axes.plot(at, places, linestyle="", color=colour, marker=marker, markersize=6, label=_short(method))
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(names)), [_short(name, 20) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x")
        if key == "width":
            axes.set_xscale("log", subs=(1, 2, 5))
            axes.xaxis.get_major_locator().set_params(subs=(1, 2, 5))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        else:
            axes.set_xlim(left=0)
            axes.xaxis.set_major_formatter("{x:g} %")
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, columnspacing=1, handletextpad=0.2)

    return paint


def eps_figure(story: Story) -> Figure | None:
    """Verified accuracy against eps, one curve a method; None unless one model was verified at two radii or more."""
    curves = verified_against_eps([run.summary.model_dump() for run in story.judged if run.summary])
    if not curves:
        return None

    def paint(axes: Axes) -> None:
        for position, ((_, name), points) in enumerate(curves.items()):
            colour, dash, marker = _look(name, position)
            at, values = [p.eps for p in points], [100 * p.value for p in points]
            axes.fill_between(at, [100 * p.low for p in points], [100 * p.high for p in points], color=colour, alpha=0.12, linewidth=0)
            axes.plot(at, values, color=colour, linestyle=dash, marker=marker, label=_short(name))
        axes.set_xlabel("eps")
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    rows = tuple((subject, name, p.eps, p.value, p.low, p.high) for (subject, name), points in curves.items() for p in points)
    alt = f"Verified accuracy against eps, {len(curves)} curves."
    return Figure(
        "figure-eps", "Verified accuracy against eps", (draw(paint, alt=alt, ident="eps", size=_WIDE),),
        Sheet("verified-against-eps.csv", ("subject", "method", "eps", "value", "low_95", "high_95"), rows),
        "One curve a method, with 95 % limits.",
    )  # fmt: skip
