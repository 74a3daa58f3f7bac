"""`epsball analyse init|plane`: tables and figures of the thesis and the lectures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.analyse_noise import noise
from epsball.cli.common import Device, Json, Output, Quiet, Seed, indices, radius

if TYPE_CHECKING:
    from matplotlib.axes import Axes

app = typer.Typer(help="Tables and figures of the thesis.", no_args_is_help=True, rich_markup_mode=None)


app.command("noise")(noise)


@app.callback()
def analyse() -> None:
    """Tables and figures of the thesis."""


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


@app.command("plane")
def plane(  # noqa: PLR0913 - one parameter an option
    run: Annotated[Path, typer.Argument(help="A run folder; with AFTER, the network to compare with: also a checkpoint.")],
    after: Annotated[
        Path | None, typer.Argument(help="The robust network; default: RUN itself, beside its untrained self.")
    ] = None,
    *,
    data: Annotated[str | None, typer.Option("--data", help="Data set; default: the one it was trained on.")] = None,
    index: Annotated[
        str | None, typer.Option("--index", help="Three test examples; default: the first ones of three classes.")
    ] = None,
    eps: Annotated[str | None, typer.Option("--eps", help="Radius of the balls; default: the one of training.")] = None,
    resolution: Annotated[int, typer.Option("--resolution", help="Cells a side.")] = 120,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: plane-I-J-K inside the last run.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Record the classes of two networks in a plane through three test inputs, for `epsball report` to draw."""
    from epsball.analysis.boundaries import Planar, initial, three, trained
    from epsball.data.find import load as load_data
    from epsball.device import resolve
    from epsball.errors import BadConfig

    output, where, last = Output(as_json=json, quiet=quiet), resolve(device), after or run
    shown, told = trained(last, where)
    first = trained(run, where)[0] if after else initial(run, where)
    name, width = data or told.get("data"), eps or told.get("eps")
    if name is None or width is None:
        raise BadConfig("the checkpoint names no data set or no radius", where=str(last), fix="give --data and --eps")
    found = load_data(str(name))
    chosen = tuple(indices(index, len(found.test)).tolist()) if index else three(found)
    folder = out or (last if last.is_dir() else last.parent) / ("plane-" + "-".join(map(str, chosen)))
    lines = Planar((first, shown), found, chosen, radius(str(width), found.clip), resolution).write(folder)
    kept = ("network", "index", "labels", "predicted", "verified", "verifier", "eps")
    output.result("analyse", {"run": str(folder), "planes": [{key: line[key] for key in kept} for line in lines]})
    rows = [(line["network"], *map(_verdict, line["labels"], line["predicted"], line["verified"])) for line in lines]
    output.table(f"{found.name}, eps {lines[0]['eps']:.6g}", ("network", *[f"input {i}" for i in chosen]), rows)
    output.text(f"next:  epsball report {last} {folder} -o report.html" if out else f"next:  epsball report {last} -o report.html")


def _verdict(label: int, predicted: int, verified: bool) -> str:
    """What a network makes of one input of the plane."""
    return f"{label}: " + ("verified by ibp" if verified else "right" if predicted == label else f"taken for {predicted}")


def _write(out: Path, figure: dict[str, list[float]]) -> None:
    from epsball.errors import BadConfig
    from epsball.files import write_bytes
    from epsball.reporting.drawing import draw

    if not out.parent.is_dir():
        raise BadConfig("no such folder", where=str(out.parent), fix="make it first, or name a file in another one")

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
    if "xmlns=" not in svg.split(">", 1)[0]:
        svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    write_bytes(out, svg.encode())
