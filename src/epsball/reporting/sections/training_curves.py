"""The figures of a training run: loss, accuracies, schedules, and the ReLUs of each layer over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.record.lines import EpochLine, MetricsLine, ReluLine, ReluShares
from epsball.reporting.csv import Sheet, n_of, number, percent
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, RULE, draw
from epsball.reporting.figures import MOST_LAYERS, WIDE, Figure, short

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from epsball.reporting.runs import Run

_SMALL = (3.1, 2.1)


def training_figures(run: Run) -> list[Figure]:
    """Loss, accuracies, schedules, and the ReLUs of each layer over time; only those that the record has."""
    scale = _epochs_per_step(run)
    made = (_losses(run, scale), _accuracy_curves(run, scale), *_schedules(run, scale), _relu_curves(run))
    return [figure for figure in made if figure is not None]


def _epochs_per_step(run: Run) -> float | None:
    """How far one step goes, from the lines that know both; None where no line does."""
    lines = run.of(EpochLine)
    if len(lines) > 1 and lines[-1].step > lines[0].step and lines[-1].epoch > lines[0].epoch:
        return (lines[-1].epoch - lines[0].epoch) / (lines[-1].step - lines[0].step)
    return lines[0].epoch / lines[0].step if lines and lines[0].step and lines[0].epoch else None


def _time(steps: Sequence[int], scale: float | None) -> tuple[list[float], str]:
    return ([float(s) for s in steps], "step") if scale is None else ([s * scale for s in steps], "epoch")


def _label(axes: Axes, unit: str) -> None:
    axes.set_xlabel(unit)
    axes.locator_params(axis="x", integer=True)


def _losses(run: Run, scale: float | None) -> Figure | None:
    lines = [line for line in run.of(MetricsLine) if line.loss is not None]
    if not lines:
        return None
    times, unit = _time([line.step for line in lines], scale)
    names = list(dict.fromkeys(name for line in lines for name in line.parts))
    shades = ((ACCENT, "-"), (ACCENT_2, "--"), (ACCENT_3, "-"), (GREY, "--"), (MUTED, ":"))

    def paint(axes: Axes) -> None:
        for position, name in enumerate(names):
            colour, dash = shades[position % len(shades)]
            values = [_gap(line.parts.get(name)) for line in lines]
            axes.plot(times, values, color=colour, linestyle=dash, linewidth=1.3, label=short(name))
        axes.plot(times, [_gap(line.loss) for line in lines], color=INK, label="total")
        _label(axes, unit)
        axes.set_ylabel("loss")
        axes.legend(ncols=2 if max(map(len, names), default=0) < 16 else 1).set_in_layout(False)

    alt = f"Training loss by {unit}: from {number(lines[0].loss)} to {number(lines[-1].loss)}; parts: {', '.join(names) or 'none'}."
    rows = tuple((line.step, line.loss, *(line.parts.get(name) for name in names)) for line in lines)
    return Figure(
        f"figure-loss-{run.id}", "Loss and its parts", n_of(len(lines), "logged step"),
        (draw(paint, alt=alt, ident=f"loss-{run.id}", size=WIDE),),
        Sheet(f"loss-{run.id}.csv", ("step", "total", *names), rows), "The objective, and the parts that the recipe logs.",
    )  # fmt: skip


def _gap(value: float | None) -> float:
    return float("nan") if value is None else value


def _accuracy_curves(run: Run, scale: float | None) -> Figure | None:
    lines = run.of(EpochLine)
    if not lines:
        return None
    times, unit = _time([line.step for line in lines], scale)
    last = lines[-1]

    def paint(axes: Axes) -> None:
        for values, colour, label in (
            ([line.clean for line in lines], INK, "clean"),
            ([line.verified for line in lines], ACCENT, f"verified ({last.verifier or 'one method'})"),
            ([line.noisy for line in lines], ACCENT, "under noise"),
        ):
            if any(value is not None for value in values):
                axes.plot(times, [100 * _gap(v) for v in values], color=colour, marker="o", markersize=3, label=short(label))
        _label(axes, unit)
        axes.set_ylabel("accuracy")
        axes.set_ylim(top=min(100.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend().set_in_layout(False)

    kind, judged = ("verified", last.verified) if last.noisy is None else ("under noise", last.noisy)
    alt = f"Accuracy by {unit}: at the end {percent(last.clean)} percent clean and {percent(judged)} percent {kind}."
    rows = tuple((line.epoch, line.step, line.clean, line.verified, line.noisy) for line in lines)
    return Figure(
        f"figure-epochs-{run.id}", "Accuracy", n_of(len(lines), "epoch"),
        (draw(paint, alt=alt, ident=f"epochs-{run.id}", size=WIDE),),
        Sheet(f"epochs-{run.id}.csv", ("epoch", "step", "clean", "verified", "noisy"), rows),
        f"On the {last.split or 'held-out'} split, after each epoch.",
    )  # fmt: skip


def _schedules(run: Run, scale: float | None) -> list[Figure | None]:
    return [
        _schedule(run, scale, "eps", "Perturbation radius", [line.eps for line in run.of(MetricsLine)]),
        _schedule(run, scale, "lr", "Learning rate", [line.lr for line in run.of(MetricsLine)]),
    ]


def _schedule(run: Run, scale: float | None, key: str, title: str, values: list[float | None]) -> Figure | None:
    steps = [line.step for line in run.of(MetricsLine)]
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
        f"figure-{key}-{run.id}", title, n_of(len(known), "logged step"),
        (draw(paint, alt=alt, ident=f"{key}-{run.id}", size=(4.6, 1.9)),),
        Sheet(f"{key}-{run.id}.csv", ("step", key), tuple(zip(steps, values, strict=True))), "The schedule as it was run.",
    )  # fmt: skip


def _relu_curves(run: Run) -> Figure | None:
    lines = run.of(ReluLine)
    names = list(dict.fromkeys(layer.name for line in lines for layer in line.layers))
    if not names:
        return None
    series: dict[str, list[tuple[float, ReluShares]]] = {name: [] for name in names}
    for line in lines:
        for layer in line.layers:
            series[layer.name].append((line.epoch, layer))
    drawings = tuple(
        draw(
            _relu_layer(name, series[name]),
            alt=f"Layer {name}: {percent(series[name][-1][1].unstable)} percent of its ReLUs are unstable at the end.",
            ident=f"relu-{run.id}-{position}", size=_SMALL,
        )
        for position, name in enumerate(names[:MOST_LAYERS])
    )  # fmt: skip
    rows = tuple((epoch, n, s.active, s.inactive, s.unstable) for n, points in series.items() for epoch, s in points)
    more = f" The first {MOST_LAYERS} of {len(names)} layers are drawn; the data have all." if len(names) > MOST_LAYERS else ""
    return Figure(
        f"figure-relu-{run.id}", "ReLUs of each layer", n_of(len(lines), "epoch"), drawings,
        Sheet(f"relu-{run.id}.csv", ("epoch", "layer", "active", "inactive", "unstable"), rows),
        "Share of neurons that are always on, of either sign, or always off over the whole ball, by epoch." + more,
        small=True, legend=(("active", GREY), ("unstable", ACCENT), ("inactive", RULE)),
    )  # fmt: skip


def _relu_layer(name: str, points: list[tuple[float, ReluShares]]) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        epochs = [epoch for epoch, _ in points]
        shares = [[100 * getattr(s, key) for _, s in points] for key in ("active", "unstable", "inactive")]
        if len(epochs) == 1:
            epochs, shares = [epochs[0] - 0.5, epochs[0] + 0.5], [2 * share for share in shares]
        axes.stackplot(epochs, shares, colors=(GREY, ACCENT, RULE), linewidth=0)
        axes.set_title(short(name))
        axes.set_ylim(0, 100)
        axes.set_xlim(epochs[0], epochs[-1])
        axes.set_xlabel("epoch")
        axes.set_ylabel("share of the ReLUs")
        axes.yaxis.set_major_formatter("{x:g} %")

    return paint
