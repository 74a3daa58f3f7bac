"""`epsball analyse plane`: decision boundaries before and after robust training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output, indices, radius
from epsball.cli.target import Device, folder_of


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
    output: Output,
) -> None:
    """Record the classes of two networks in a plane through three test inputs, for `epsball report` to draw."""
    from epsball.analysis.boundaries import Planar, initial, three, trained
    from epsball.data.find import load as load_data
    from epsball.device import resolve
    from epsball.errors import BadConfig

    where, last = resolve(device), after or run
    shown, told = trained(last, where)
    first = trained(run, where)[0] if after else initial(run, where)
    name, width = data or told.get("data"), eps or told.get("eps")
    if name is None or width is None:
        raise BadConfig("the checkpoint names no data set or no radius", where=str(last), fix="give --data and --eps")
    found = load_data(str(name))
    chosen = tuple(indices(index, len(found.test)).tolist()) if index else three(found)
    folder = out or folder_of(last) / ("plane-" + "-".join(map(str, chosen)))
    lines = Planar((first, shown), found, chosen, radius(str(width), found.clip), resolution).write(folder)
    kept = {"network", "index", "labels", "predicted", "verified", "verifier", "eps"}
    output.result("analyse", {"run": str(folder), "planes": [line.model_dump(include=kept) for line in lines]})
    rows = [(line.network, *map(_verdict, line.labels, line.predicted, line.verified)) for line in lines]
    output.table(f"{found.name}, eps {lines[0].eps:.6g}", ("network", *[f"input {i}" for i in chosen]), rows)
    output.text(f"next:  epsball report {last} {folder} -o report.html" if out else f"next:  epsball report {last} -o report.html")


def _verdict(label: int, predicted: int, verified: bool) -> str:
    """What a network makes of one input of the plane."""
    return f"{label}: " + ("verified by ibp" if verified else "right" if predicted == label else f"taken for {predicted}")
