"""`epsball analyse init`: what bounds do before training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.analyse.svg import check_place, save
from epsball.cli.common import Output
from epsball.cli.target import Seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def init(
    *,
    trials: Annotated[int, typer.Option("--trials", help="Random trials of each entry.")] = 100,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw Figure 3.1 into this SVG file.")] = None,
    seed: Seed = 0,
    output: Output,
) -> None:
    """Print the difference gain of each initialisation, closed form beside random trials (Table 3.1); draw Figure 3.1."""
    from epsball.analysis.init import FAN_INS, TABLE, difference_gains, widths

    gains = difference_gains(trials, seed)
    by_name = {name: [gain for gain in gains if gain.name == name] for name in TABLE}
    figure = {name: widths(name, seed=seed) for name in ("xavier-uniform", "ibp")} if out else {}
    if out:
        _write(out, figure)
    body = {"gains": [asdict(gain) for gain in gains], "widths": figure, "figure": str(out) if out else None}
    output.result("analyse", body)
    output.table(
        f"Table 3.1: difference gain, closed form / mean of {trials} trials",
        ("initialisation", *[f"n = {n}" for n in FAN_INS]),
        [(name, *[f"{g.closed:.2f} / {g.trials:.2f}" for g in row]) for name, row in by_name.items()],
    )
    if out:
        output.text(f"Figure 3.1: {out}")


def _write(out: Path, figure: dict[str, list[float]]) -> None:
    from epsball.reporting.drawing import draw

    check_place(out)

    def paint(axes: Axes) -> None:
        for (name, values), mark in zip(figure.items(), ("o", "s"), strict=True):
            axes.plot(range(len(values)), values, marker=mark, color="black" if mark == "o" else "tab:blue", label=name)
        axes.set_yscale("log")
        axes.set_xlabel("layer (0 is the input)")
        axes.set_ylabel("mean width of the bounds")
        axes.set_title("Bounds of an untrained CNN-7 without batch norm")
        axes.legend()

    told = ", ".join(f"{name}: {values[-1] / values[0]:.3g} times the input's" for name, values in figure.items())
    svg = draw(paint, alt=f"Mean width of interval bounds by layer; at the last hidden layer {told}", ident="init", size=(5.0, 3.2))
    save(out, svg)
