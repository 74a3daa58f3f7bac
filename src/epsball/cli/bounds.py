"""`epsball bounds`: how tight the bounds of each layer are for some examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output
from epsball.cli.forecast import Limits
from epsball.cli.spread import defaults
from epsball.cli.target import Opening, Sets


def bounds(
    target: Annotated[Sets, defaults(index="0")],
    *,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="ibp, forward, zonotope, dual, crown-ibp, crown-forward, crown-alone or crown; several with commas."
        ),
    ] = "ibp,crown",
    limits: Limits,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record.")] = None,
    setup: Opening,
    output: Output,
) -> None:
    """Show per-layer widths and unstable neurons by IBP and CROWN, or by other methods."""
    from epsball.analysis.tightness import check_methods, costs, layer_lines
    from epsball.record.continued import continued

    names = [part.strip() for part in method.split(",")]
    check_methods(names)
    case, budget = target.case(setup), limits.budget()
    if limits.told(output, case, costs(names), budget, rows=0, title=f"{target.title}, {len(case.index)} examples"):
        return
    x = case.data.test.inputs(case.index).to(case.device)
    lines = layer_lines(case.network, case.ball(x, case.index), names, budget)
    with continued(out, case.heading("bounds", case.described())) as record:
        record.append(*lines)
    output.result("bounds", {"layers": [line.written() for line in lines]})
    rows = [
        (
            f"{line.name} ({line.op})",
            line.method,
            str(line.neurons),
            "-" if line.width is None else f"{line.width:.4g}",
            _percent(line.active),
            _percent(line.inactive),
            _percent(line.unstable),
            f"{line.seconds or 0.0:.3f}",
        )
        for line in lines
    ]
    columns = ("before", "method", "neurons", "mean width", "active", "inactive", "unstable", "seconds (all layers)")
    output.table(target.title, columns, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
