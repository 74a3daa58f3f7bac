"""`epsball verify`: attack, then prove, then say how much of the data is known to be robust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epsball.cli.common import (
    Data,
    Device,
    Eps,
    Index,
    Json,
    Model,
    NormOption,
    Output,
    Perturbation,
    Quiet,
    Seed,
    Size,
    named_set,
    number,
    percent,
    shard,
)
from epsball.cli.forecast import DryRun, Memory, announce, forecast, memory, show
from epsball.cli.judged import case_of, progress
from epsball.errors import BadConfig, did_you_mean

if TYPE_CHECKING:
    from epsball.bounding.base import Bounder
    from epsball.verification.ladder import Step


def verify(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Data = "mnist",
    index: Index = ":",
    eps: Eps = "0.1",
    norm: NormOption = "linf",
    perturbation: Perturbation = None,
    size: Size = None,
    cells: Annotated[
        int,
        typer.Option(
            "--cells", help="Cells of a perturbation: along each parameter, or blocks of a patch's positions along each side."
        ),
    ] = 10,
    method: Annotated[
        str, typer.Option("--method", help="auto (the ladder), bounders, lp, multi-neuron, sdp; several with commas: auto,lp.")
    ] = "auto",
    timeout: Annotated[str, typer.Option("--timeout", help="Seconds for one instance.")] = "60",
    float64: Annotated[bool, typer.Option("--float64", help="Bounds in float64 instead of float32.")] = False,
    part: Annotated[str | None, typer.Option("--shard", help="i/n: the i-th of n parts of the index, from 1.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: MODEL/verify-DATA-NORM-EPS.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")] = False,
    memory_: Memory = "2GiB",
    dry_run: DryRun = False,
    gate: Annotated[bool, typer.Option("--gate", help="Exit with 0 if all are verified, 1 if any is falsified, else 2.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify a network on test examples by attack, IBP, CROWN-IBP and CROWN. Unknown is never counted as an answer."""
    import torch

    from epsball.run.judge import Judgement
    from epsball.spec.problem import Budget
    from epsball.verification.cells import Cells
    from epsball.verification.ladder import Ladder
    from epsball.verification.survey import shard as take

    output = Output(as_json=json, quiet=quiet)
    steps = _steps(method)
    i, n = shard(part)
    kind, amount = named_set(norm, eps, perturbation, size)
    case = case_of(model, data, index, amount, norm=kind, seed=seed, device=device, pick=lambda all_: take(all_, i - 1, n))
    if float64:
        case = case.in_precision(torch.float64)
    ladder = Ladder(steps=steps, seed=seed)
    verifier = ladder if perturbation is None else Cells(cells, ladder)
    budget = Budget(seconds=number(timeout, "--timeout"), bytes=memory(memory_))
    lines = forecast(case, _bounders(steps), budget, case.network.classes - 1)
    if dry_run:
        output.result("forecast", {"count": len(case.index), "budget_bytes": budget.bytes, "methods": lines})
        show(output, f"{model}  {kind} {amount}, {len(case.index)} examples, if all of them reach every step", lines)
        return
    announce(output, lines)
    path = out or _default(model, data, kind, amount, part)
    with progress(output, "verifying") as told:
        summary = Judgement(case, verifier, budget.seconds, told, budget.bytes).run(path, resume=resume)
    output.result("verify", {"run": str(path), **summary})
    _show(output, path, summary)
    if gate:
        raise typer.Exit(_gate(summary["status"], summary["count"]))


def _steps(method: str) -> tuple[str | Step, ...]:
    """The ladder's steps from --method."""
    from epsball.verification.ladder import STEPS, named_steps

    chosen: list[str | Step] = []
    for name in (part.strip() for part in method.split(",")):
        known = ("auto", *named_steps())
        if name not in known:
            raise BadConfig(
                f"unknown method {name!r}", where="--method", fix=did_you_mean(name, known) or f"use {', '.join(known)}"
            )
        chosen += [step for step in (STEPS if name == "auto" else ("clean", "attack", name)) if step not in chosen]
    return tuple(chosen)


def _bounders(steps: tuple[str | Step, ...]) -> dict[str, Bounder]:
    """The bound methods among the steps, for the estimate of what they take."""
    from epsball.bounding.base import bounders

    return {step: bounders[step]() for step in steps if isinstance(step, str) and step in bounders}


def _default(model: Path, data: str, kind: str, size: str, part: str | None) -> Path:
    folder = model if model.is_dir() else model.parent
    name = f"verify-{data}-{kind}-{size}" + (f"-{part}" if part else "")
    return folder / name.replace("/", "_")


def _gate(status: dict[str, int], count: int) -> int:
    if status["error"]:
        return 3
    if status["falsified"]:
        return 1
    return 0 if status["verified"] == count else 2


def _show(output: Output, path: Path, summary: dict[str, Any]) -> None:
    count, accuracy = summary["count"], summary["accuracy"]
    rows = [(name, percent(accuracy[name])) for name in ("clean", "attacked", "verified")]
    rows += [(f"  verified by {method} alone", percent(share)) for method, share in summary["verified_by"].items()]
    output.table(f"{path}  eps {summary['eps']:.6g} {summary['norm']}, {count} examples", ("accuracy", "[95 % interval]"), rows)
    steps = [(step["name"], str(step["verified"]), str(step["falsified"]), f"{step['seconds']:.1f}") for step in summary["steps"]]
    output.table("", ("step", "verified", "falsified", "seconds"), steps)
    left = ", ".join(f"{n} {name}" for name, n in summary["status"].items() if n)
    output.text(f"{left}.  Unknown, timeout and error are not answers; they count against the verified accuracy.")
