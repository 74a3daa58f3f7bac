"""`epsball bounds`: how tight the bounds of each layer are for some examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Data, Device, Eps, Index, Json, Model, NormOption, Output, Perturbation, Quiet, Seed, Size, named_set
from epsball.cli.forecast import DryRun, Memory, announce, forecast, memory, show
from epsball.cli.judged import case_of


def bounds(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Data = "mnist",
    index: Index = "0",
    eps: Eps = "0.1",
    norm: NormOption = "linf",
    perturbation: Perturbation = None,
    size: Size = None,
    memory_: Memory = "2GiB",
    dry_run: DryRun = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show per-layer widths, unstable neurons and output bounds by IBP and CROWN."""
    from epsball.analysis.tightness import METHODS, layer_lines
    from epsball.run.folder import RunFolder
    from epsball.run.judge import write_header
    from epsball.run.record import Record
    from epsball.spec.problem import Budget

    output = Output(as_json=json, quiet=quiet)
    kind, amount = named_set(norm, eps, perturbation, size)
    case = case_of(model, data, index, amount, norm=kind, seed=seed, device=device)
    budget = Budget(bytes=memory(memory_))
    costs = forecast(case, METHODS, budget, 0)
    if dry_run:
        output.result("forecast", {"count": len(case.index), "budget_bytes": budget.bytes, "methods": costs})
        show(output, f"{model}  {kind} {amount}, {len(case.index)} examples", costs)
        return
    announce(output, costs)
    x = case.data.test.inputs(case.index).to(case.device)
    lines = layer_lines(case.network, case.ball(x, case.index), budget=budget)
    if out is not None:
        with RunFolder(out) as folder, Record(folder.record) as record:
            write_header(record, "bounds", case.described(), case)
            for line in (*lines, {"type": "done"}):
                record.append(line)
    output.result("bounds", {"layers": lines})
    rows = [
        (
            f"{line['name']} ({line['op']})",
            line["method"],
            str(line["neurons"]),
            f"{line['width']:.4g}",
            f"{100 * line['active']:.1f} %",
            f"{100 * line['inactive']:.1f} %",
            f"{100 * line['unstable']:.1f} %",
            f"{line['seconds']:.3f}",
        )
        for line in lines
    ]
    columns = ("before", "method", "neurons", "mean width", "active", "inactive", "unstable", "seconds (all layers)")
    output.table(f"{model}  {kind} {amount}", columns, rows)
