"""`epsball attack`: the upper side of the inequality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    percent,
)
from epsball.cli.judged import case_of


def attack(  # noqa: PLR0913 - one parameter an option
    model: Model,
    *,
    data: Data = "mnist",
    index: Index = ":",
    eps: Eps = "0.1",
    norm: NormOption = "linf",
    perturbation: Perturbation = None,
    size: Size = None,
    method: Annotated[str, typer.Option("--attack", help="See `epsball list attacks`.")] = "pgd",
    settings: Annotated[list[str] | None, typer.Option("--set", help="option=value of the attack, such as steps=100.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record; default: none is written.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Attack a network on test examples: what survives bounds its robust accuracy from above."""
    from epsball.attacks.base import attacks
    from epsball.config import options
    from epsball.run.assault import assault

    output = Output(as_json=json, quiet=quiet)
    chosen = options(attacks[method], settings or [], "attack")
    kind, amount = named_set(norm, eps, perturbation, size)
    case = case_of(model, data, index, amount, norm=kind, seed=seed, device=device)
    summary, _ = assault(case, chosen, out)
    output.result("attack", {"run": str(out) if out else None, **summary})
    _show(output, str(model), summary)


def _show(output: Output, model: str, summary: dict[str, Any]) -> None:
    title = f"{model}  eps {summary['eps']:.6g} {summary['norm']}, {summary['count']} examples"
    rows = [(name, percent(summary["accuracy"][name])) for name in ("clean", "attacked")]
    output.table(title, ("accuracy", "[95 % interval]"), rows)
    output.text(f"{summary['seconds']:.1f} s.  An attack that fails proves nothing: epsball verify {model}")
