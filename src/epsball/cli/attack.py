"""`epsball attack`: the upper side of the inequality."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from epsball.cli.common import Output, percent
from epsball.cli.target import Record, Sets, Setup


def attack(
    target: Sets,
    *,
    method: Annotated[str, typer.Option("--attack", help="See `epsball list attacks`.")] = "pgd",
    settings: Annotated[list[str] | None, typer.Option("--set", help="option=value of the attack, such as steps=100.")] = None,
    out: Record = None,
    setup: Setup,
    output: Output,
) -> None:
    """Attack a network on test examples: what survives bounds its robust accuracy from above."""
    from epsball.attacks.base import attacks
    from epsball.config import options
    from epsball.run.assault import assault

    chosen = options(attacks[method], settings or [], "attack")
    summary, _ = assault(target.case(setup), chosen, out)
    output.result("attack", {"run": str(out) if out else None, **summary})
    _show(output, str(target.model), summary)


def _show(output: Output, model: str, summary: dict[str, Any]) -> None:
    title = f"{model}  eps {summary['eps']:.6g} {summary['norm']}, {summary['count']} examples"
    rows = [(name, percent(summary["accuracy"][name])) for name in ("clean", "attacked")]
    output.table(title, ("accuracy", "[95 % interval]"), rows)
    output.text(f"{summary['seconds']:.1f} s.  An attack that fails proves nothing: epsball verify {model}")
