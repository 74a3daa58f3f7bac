"""`epsball analyse estimate`: what sampling says of a network around some examples. Never a proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output
from epsball.cli.spread import defaults
from epsball.cli.target import Balls, Opening


def estimate(
    target: Annotated[Balls, defaults(index=":10")],
    *,
    batches: Annotated[int, typer.Option("--batches", help="Batches of gradients, one maximum each.")] = 50,
    samples: Annotated[int, typer.Option("--samples", help="Samples of one batch.")] = 64,
    steps: Annotated[int, typer.Option("--steps", help="Gradient steps from the best samples.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record.")] = None,
    setup: Opening,
    output: Output,
) -> None:
    """Estimate margins, output ranges and local Lipschitz constants by sampling: an estimate, never a verdict."""
    from epsball.analysis.estimate import Estimator
    from epsball.problem.property import robust
    from epsball.record.continued import continued

    chosen = Estimator(batches, samples, steps, setup.seed)
    case = target.case(setup)
    x, y = case.data.test.inputs(case.index).to(case.device), case.data.test.y[case.index]
    found = chosen(case.network.prepare(), case.ball(x, case.index), robust(y.to(case.device), case.network.classes, case.dtype))
    lines = found.lines(case.index.tolist(), y.tolist())
    with continued(out, case.heading("estimate", case.described(batches=batches, samples=samples, steps=steps))) as record:
        record.append(*lines)
    output.result("estimate", {"status": found.status, "estimates": [line.written() for line in lines]})
    rows = [
        (str(line.index), str(line.label), f"{line.least:.4g}", f"{line.lipschitz:.4g}", f"{line.radius:.4g}") for line in lines
    ]
    columns = ("example", "label", "least margin found", "Lipschitz constant", "radius")
    output.table(f"{target.title}: estimates, not proofs", columns, rows)
    output.text("A found margin is an upper bound of the true one. Constant and radius are estimates: no verdict counts them.")
