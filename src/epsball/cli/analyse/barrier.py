"""`epsball analyse barrier`: what no relaxation of single neurons can prove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.analyse.svg import check_place, save
from epsball.cli.common import Output, number
from epsball.cli.spread import defaults
from epsball.cli.target import Balls, Opening, Record

if TYPE_CHECKING:
    from epsball.record.lines import BarrierLine, SummaryLine


def barrier(
    target: Annotated[Balls, defaults(index=":10")],
    *,
    groups: Annotated[
        bool, typer.Option("--multi-neuron", help="Also try groups of three neurons, which pass the barrier.")
    ] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="Seconds for one image.")] = "60",
    figure: Annotated[Path | None, typer.Option("--figure", help="Draw the margins into this SVG file.")] = None,
    out: Record = None,
    setup: Opening,
    output: Output,
) -> None:
    """How much of the gap between CROWN and an attack no relaxation of single neurons can close (Salman et al. 2019)."""
    import torch

    from epsball.analysis.barrier import Barrier, analyse
    from epsball.problem.problem import Budget

    seconds = number(timeout, "--timeout")
    Budget(seconds=seconds)  # a bad one fails here, before a folder is made
    if figure:
        check_place(figure)
    case = target.case(setup).in_precision(torch.float64)
    with output.progress("bounding") as told:
        summary, lines = analyse(case, Barrier(groups=groups, seconds=seconds, seed=setup.seed), out, told)
    if figure:
        from epsball.reporting.sections.barrier import barrier_figure

        save(figure, barrier_figure(lines))
    run = {"run": str(out) if out else None, "figure": str(figure) if figure else None}
    output.result("analyse", {**run, "images": [line.written() for line in lines], "summary": summary.written()})
    _show_barrier(output, str(target.model), summary, lines)


def _show_barrier(output: Output, model: str, summary: SummaryLine, lines: list[BarrierLine]) -> None:
    names = list(summary.margins)
    title = f"{model}  eps {summary.eps:.6g} {summary.norm}: least margins"
    rows = []
    for line in lines:
        margins = ["-" if (margin := line.margins.get(k)) is None else f"{margin:.4f}" for k in names]
        share = f"{100 * line.barrier / line.gap:.0f} %" if line.gap and line.barrier is not None else "-"
        rows.append((f"{line.index}  {line.status}", "-" if line.unstable is None else str(line.unstable), *margins, share))
    output.table(title, ("image", "unstable", *names, "barrier's share"), rows)
    if summary.whole:
        output.text(
            f"Of a mean gap of {summary.gap:.4f} between CROWN and the attack, {summary.barrier:.4f} is beyond every "
            f"relaxation of single neurons. {summary.exact} of {summary.whole} images: the barrier is exact."
        )
    left = [f"{n} {k}" for k, n in (("misclassified", summary.misclassified), ("timeout", summary.timeout)) if n]
    if left:
        output.text(f"Not counted: {', '.join(left)}.")
