"""`epsball analyse regions`: the base classifier around one input, the noise that smooths it, and how the noisy copies vote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Output, indices, number
from epsball.cli.target import Model, Setup, folder_of

if TYPE_CHECKING:
    from epsball.record.lines import RegionsLine


def regions(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Annotated[str | None, typer.Option("--data", help="Data set; default: the one it was trained on.")] = None,
    index: Annotated[str, typer.Option("--index", help="One test example.")] = "0",
    sigma: Annotated[str | None, typer.Option("--sigma", help="Scale of the noise; default: that of training, or 0.25.")] = None,
    samples: Annotated[int, typer.Option("--samples", help="Noisy copies that vote.")] = 10_000,
    alpha: Annotated[str, typer.Option("--alpha", help="Probability that a limit, or the radius, is wrong.")] = "0.001",
    resolution: Annotated[int, typer.Option("--resolution", help="Cells a side.")] = 200,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: MODEL/regions-DATA-INDEX-SIGMA.")] = None,
    setup: Setup,
    output: Output,
) -> None:
    """Record the decision regions around a test example, its certified radius and its noisy votes, for `epsball report`."""
    from epsball.analysis.boundaries import trained
    from epsball.analysis.regions import Regions
    from epsball.data.find import load as load_data
    from epsball.device import resolve
    from epsball.errors import BadConfig
    from epsball.run.case import Case

    shown, told = trained(model, resolve(setup.device))
    name, scale = data or told.get("data"), sigma or told.get("sigma") or 0.25
    if name is None:
        raise BadConfig("the checkpoint names no data set", where=str(model), fix="give --data")
    found = load_data(str(name))
    case = Case(model, shown.network, found, indices(index, len(found.test)), 0.0, "l2", setup.seed)
    drawn = Regions(case, number(str(scale), "--sigma"), samples, number(alpha, "--alpha"), resolution=resolution)
    folder = out or folder_of(model) / f"regions-{name}-{index}-{scale}".replace("/", "_")
    line = drawn.write(folder)
    output.result("analyse", {"run": str(folder), **line.model_dump(exclude={"classes"})})
    order = sorted(range(len(line.votes)), key=lambda c: -line.votes[c])
    rows = [_row(line, c, samples) for c in order if line.votes[c] or c == line.label]
    output.table(f"{found.name} {line.index}, {line.noise}: {samples:,} noisy votes", ("class", "share", "limits"), rows)
    output.text(_verdict(line))
    output.text(f"next:  epsball report {folder} -o regions.html")


def _row(line: RegionsLine, c: int, samples: int) -> tuple[str, str, str]:
    share, low, high = line.votes[c] / samples, line.low[c], line.high[c]
    return f"{c}, the label" if c == line.label else str(c), f"{share:.4f}", f"{low:.4f} to {high:.4f}"


def _verdict(line: RegionsLine) -> str:
    if line.smoothed is None:
        return "The smoothed classifier abstains: no class is proven to get more than half of the votes."
    radius = f"{line.norm} {line.radius:.4g}"
    return f"Certified: class {line.smoothed} within {radius}, wrong with probability at most {line.alpha:g}."
