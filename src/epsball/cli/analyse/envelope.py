"""`epsball analyse envelope`: certified radii from the linear functions below the margins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from epsball.cli.common import Output
from epsball.cli.spread import defaults
from epsball.cli.target import Balls, Setup

if TYPE_CHECKING:
    from epsball.spec.sets.base import Norm

_CHUNK = 16  # images bounded together


def envelope(
    target: Annotated[Balls, defaults(index=":10")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record.")] = None,
    setup: Setup,
    output: Output,
) -> None:
    """Certify a radius for each example by the distance to its polyhedral envelope, at most eps."""
    import torch

    from epsball.bounding.envelope import Envelope
    from epsball.run.record import Line
    from epsball.run.written import written
    from epsball.spec.property import robust

    case = target.case(setup)
    x, y = case.data.test.inputs(case.index).to(case.device), case.data.test.y[case.index]
    network, lines = case.network.prepare(), list[Line]()
    for part in torch.split(torch.arange(len(y)), _CHUNK):
        prop = robust(y[part].to(case.device), case.network.classes, case.dtype)
        found = Envelope(case.eps, norm=cast("Norm", case.norm), clip=case.data.clip)(network, x[part.to(case.device)], prop)
        nearest = prop.C[found.distance.argmin(0), torch.arange(len(part))].argmin(1)
        lines += [
            {"type": "envelope", "index": int(case.index[i]), "label": int(y[i]), "radius": float(r), "nearest": int(k)}
            for i, r, k in zip(part.tolist(), found.radius, nearest, strict=True)
        ]
    with written(out, "envelope", case) as append:
        append(*lines)
    radii = torch.tensor([line["radius"] for line in lines], dtype=torch.float64)
    output.result("envelope", {"radii": lines, "mean": float(radii.mean())})
    rows = [(str(line["index"]), str(line["label"]), f"{line['radius']:.5g}", str(line["nearest"])) for line in lines]
    output.table(target.title, ("example", "label", "certified radius", "nearest class"), rows)
    whole = int((radii >= case.eps).sum())
    output.text(f"mean {radii.mean():.5g}; {whole} of {len(lines)} reach the ball's own radius: a larger --eps may reach further.")
