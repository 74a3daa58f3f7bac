"""`epsball analyse`: what bounds do before training, and what no relaxation of single neurons can prove."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epsball.cli.common import Data, Device, Eps, Index, Json, Model, NormOption, Output, Quiet, Seed, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

app = typer.Typer(help="Analyses of networks and bounds.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def analyse() -> None:
    """Analyses of networks and bounds."""


@app.command("init")
def init(
    *,
    trials: Annotated[int, typer.Option("--trials", help="Random trials of each entry.")] = 100,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Draw Figure 3.1 into this SVG file.")] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print the difference gain of each initialisation, closed form beside random trials (Table 3.1); draw Figure 3.1."""
    from epsball.analysis.init import FAN_INS, TABLE, difference_gains, widths

    output = Output(as_json=json, quiet=quiet)
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


@app.command("barrier")
def barrier(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Data = "mnist",
    index: Index = ":10",
    eps: Eps = "0.1",
    norm: NormOption = "linf",
    groups: Annotated[
        bool, typer.Option("--multi-neuron", help="Also try groups of three neurons, which pass the barrier.")
    ] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="Seconds for one image.")] = "60",
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the margins into this SVG file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record; default: none is written.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How much of the gap between CROWN and an attack no relaxation of single neurons can close (Salman et al. 2019)."""
    import torch

    from epsball.analysis.barrier import Barrier, analyse
    from epsball.cli.judged import case_of, progress
    from epsball.spec.problem import Budget

    output = Output(as_json=json, quiet=quiet)
    seconds = number(timeout, "--timeout")
    Budget(seconds=seconds)  # a bad one fails here, before a folder is made
    if figure:
        _check_place(figure)
    case = case_of(model, data, index, eps, norm=norm, seed=seed, device=device).in_precision(torch.float64)
    with progress(output, "bounding") as told:
        summary, lines = analyse(case, Barrier(groups=groups, seconds=seconds, seed=seed), out, told)
    if figure:
        from epsball.reporting.barrier import barrier_figure

        _save(figure, barrier_figure(lines))
    run = {"run": str(out) if out else None, "figure": str(figure) if figure else None}
    output.result("analyse", {**run, "images": lines, "summary": summary})
    _show_barrier(output, str(model), summary, lines)


def _show_barrier(output: Output, model: str, summary: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    names = list(summary["margins"])
    title = f"{model}  eps {summary['eps']:.6g} {summary['norm']}: least margins"
    rows = []
    for line in lines:
        margins = [f"{line['margins'][k]:.4f}" if k in line["margins"] else "-" for k in names]
        share = f"{100 * line['barrier'] / line['gap']:.0f} %" if line.get("gap") else "-"
        rows.append((f"{line['index']}  {line['status']}", str(line.get("unstable", "-")), *margins, share))
    output.table(title, ("image", "unstable", *names, "barrier's share"), rows)
    if summary["whole"]:
        output.text(
            f"Of a mean gap of {summary['gap']:.4f} between CROWN and the attack, {summary['barrier']:.4f} is beyond every "
            f"relaxation of single neurons. {summary['exact']} of {summary['whole']} images: the barrier is exact."
        )
    left = [f"{summary[k]} {k}" for k in ("misclassified", "timeout") if summary[k]]
    if left:
        output.text(f"Not counted: {', '.join(left)}.")


def _check_place(out: Path) -> None:
    from epsball.errors import BadConfig

    if not out.parent.is_dir():
        raise BadConfig("no such folder", where=str(out.parent), fix="make it first, or name a file in another one")


def _save(out: Path, svg: str) -> None:
    from epsball.files import write_bytes

    if "xmlns=" not in svg.split(">", 1)[0]:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    write_bytes(out, svg.encode())


def _write(out: Path, figure: dict[str, list[float]]) -> None:
    from epsball.reporting.drawing import draw

    _check_place(out)

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
    _save(out, svg)
