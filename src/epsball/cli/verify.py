"""`epsball verify`: attack, then prove, then say how much of the data is known to be robust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Anyway, Output, Part, Resume, number, percent
from epsball.cli.forecast import Limits
from epsball.cli.target import Opening, Sets, folder_of, run_named, slice_named

if TYPE_CHECKING:
    from epsball.bounding.base import Bounder
    from epsball.record.lines import SummaryLine
    from epsball.verification.rungs import Step


_METHOD = "auto"


def verify(  # noqa: PLR0913 - one parameter an option
    target: Sets,
    *,
    cells: Annotated[
        int | None,
        typer.Option(
            "--cells",
            help="Cells of a perturbation: along each parameter, or blocks of a patch's positions along each side.  [default: 10]",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="auto (the ladder), bounders, lp, multi-neuron, sdp; several with commas: auto,lp.")
    ] = _METHOD,
    timeout: Annotated[str, typer.Option("--timeout", help="Seconds for one instance.")] = "60",
    float64: Annotated[bool, typer.Option("--float64", help="Bounds in float64 instead of float32.")] = False,
    part: Part = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default: MODEL/verify-DATA-NORM-EPS-SLICE-METHOD.")
    ] = None,
    resume: Resume = False,
    anyway: Anyway = False,
    limits: Limits,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit with 0 if all are verified, 1 if any is falsified or misclassified, else 2.")
    ] = False,
    setup: Opening,
    output: Output,
) -> None:
    """Verify a network on test examples by attack, IBP, CROWN-IBP and CROWN. Unknown is never counted as an answer."""
    import torch

    from epsball.run.verify import Judgement, verifier_of
    from epsball.verification.ladder import steps_named

    steps = steps_named(method, "--method")
    case = target.case(setup, part)
    if float64:
        case = case.in_precision(torch.float64)
    verifier = verifier_of(case, steps, cells, seed=setup.seed)
    budget = limits.budget(number(timeout, "--timeout"))
    title = f"{target.title}, {len(case.index)} examples, if all of them reach every step"
    if limits.told(output, case, _bounders(steps), budget, rows=case.network.classes - 1, title=title):
        return
    path = out or _default(target, method, part)
    with output.progress("verifying") as told:
        summary = Judgement(case, verifier, budget.seconds, told, told.step, budget.bytes).run(path, resume=resume, anyway=anyway)
    output.result("verify", {"run": str(path), **summary.written()})
    _show(output, path, summary)
    if gate:
        raise typer.Exit(_gate(summary))


def _bounders(steps: tuple[Step, ...]) -> dict[str, Bounder]:
    """The bound methods among the steps, for the estimate of what they take."""
    from epsball.bounding.base import bounders

    return {step: bounders[step]() for step in steps if isinstance(step, str) and step in bounders}


def _default(target: Sets, method: str, part: str | None) -> Path:
    chosen = None if method == _METHOD else method
    return folder_of(target.model) / run_named("verify", target.data, *target.around, slice_named(target.index), chosen, part)


def _gate(summary: SummaryLine) -> int:
    status = summary.status
    if status["error"]:
        return 3
    if status["falsified"] or status["misclassified"]:
        return 1
    return 0 if status["verified"] == summary.count else 2


def _show(output: Output, path: Path, summary: SummaryLine) -> None:
    count, accuracy = summary.count, summary.accuracy
    rows = [(name, percent(accuracy[name])) for name in ("clean", "attacked", "verified")]
    rows += [(f"  verified by {method} alone", percent(share)) for method, share in summary.verified_by.items()]
    output.table(f"{path}  eps {summary.eps:.6g} {summary.norm}, {count} examples", ("accuracy", "[95 % interval]"), rows)
    counted = ("verified", "misclassified", "falsified")
    steps = [(step.name, *(str(getattr(step, name)) for name in counted), f"{step.seconds or 0:.1f}") for step in summary.steps]
    output.table("", ("step", *counted, "seconds"), steps)
    left = ", ".join(f"{n} {name}" for name, n in summary.status.items() if n)
    output.text(f"{left}.  Unknown, timeout and error are not answers; they count against the verified accuracy.")
