"""`epsball analyse estimate`: what sampling says of a network around some examples. Never a proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Data, Device, Eps, Index, Json, Model, NormOption, Output, Quiet, Seed
from epsball.cli.judged import case_of


def estimate(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Data = "mnist",
    index: Index = ":10",
    eps: Eps = "0.1",
    norm: NormOption = "linf",
    batches: Annotated[int, typer.Option("--batches", help="Batches of gradients, one maximum each.")] = 50,
    samples: Annotated[int, typer.Option("--samples", help="Samples of one batch.")] = 64,
    steps: Annotated[int, typer.Option("--steps", help="Gradient steps from the best samples.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate margins, output ranges and local Lipschitz constants by sampling: an estimate, never a verdict."""
    from epsball.analysis.estimate import Estimator
    from epsball.run.folder import RunFolder
    from epsball.run.judge import write_header
    from epsball.run.record import Record
    from epsball.spec.property import robust

    output = Output(as_json=json, quiet=quiet)
    chosen = Estimator(batches, samples, steps, seed)
    case = case_of(model, data, index, eps, norm=norm, seed=seed, device=device)
    x, y = case.data.test.inputs(case.index).to(case.device), case.data.test.y[case.index]
    found = chosen(case.network.prepare(), case.ball(x, case.index), robust(y.to(case.device), case.network.classes, case.dtype))
    lines = found.lines(case.index.tolist(), y.tolist())
    if out is not None:
        with RunFolder(out) as folder, Record(folder.record) as record:
            write_header(record, "estimate", case.described(batches=batches, samples=samples, steps=steps), case)
            for line in (*lines, {"type": "done"}):
                record.append(line)
    output.result("estimate", {"status": found.status, "estimates": lines})
    rows = [
        (str(line["index"]), str(line["label"]), f"{line['least']:.4g}", f"{line['lipschitz']:.4g}", f"{line['radius']:.4g}")
        for line in lines
    ]
    columns = ("example", "label", "least margin found", "Lipschitz constant", "radius")
    output.table(f"{model}  eps {eps} {norm}: estimates, not proofs", columns, rows)
    output.text("A found margin is an upper bound of the true one. Constant and radius are estimates: no verdict counts them.")
