"""`epsball attack`: the upper side of the inequality, of a network or of its smoothed classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Output, number, percent
from epsball.cli.target import Opening, Record, Sets
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.record.lines import SummaryLine


def attack(
    target: Sets,
    *,
    method: Annotated[
        str | None, typer.Option("--attack", help="See `epsball list attacks`.  [default: pgd]", show_default=False)
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="option=value of the attack, such as steps=100.")] = None,
    sigma: Annotated[
        str | None, typer.Option("--sigma", help="Attack the classifier smoothed by Gaussian noise of this scale, in an l2 ball.")
    ] = None,
    out: Record = None,
    setup: Opening,
    output: Output,
) -> None:
    """Attack a network on test examples: what survives bounds its robust accuracy from above."""
    from epsball.attacks.base import attacks
    from epsball.run.attack import assault
    from epsball.values import options

    if sigma is not None:
        if method is not None:
            raise BadConfig(
                "a smoothed classifier has an attack of its own",
                where=f"--attack {method}",
                fix="leave --attack out; --set has its options: steps, samples, step_size, votes, alpha",
            )
        _smoothed(target, sigma, settings or [], out, setup, output)
        return
    chosen = options(attacks[method or "pgd"], settings or [], "attack")
    summary, _ = assault(target.case(setup), chosen, out)
    output.result("attack", {"run": str(out) if out else None, **summary.written()})
    _show(output, str(target.model), summary)


def _smoothed(target: Sets, sigma: str, settings: Sequence[str], out: Path | None, setup: Opening, output: Output) -> None:
    from epsball.run.attack_smoothed import smooth_assault
    from epsball.smoothing.attack import SmoothPGD
    from epsball.smoothing.core import Smoothed
    from epsball.smoothing.noises.continuous import Gaussian
    from epsball.values import build, options

    for name, given, kept in (("--perturbation", target.perturbation, None), ("--norm", target.norm, "l2")):
        if given not in (None, kept):
            raise BadConfig("a smoothed classifier is attacked in an l2 ball", where=f"{name} {given}", fix=f"leave {name} out")
    chosen = options(SmoothPGD, settings, "attack")
    noise = build(Gaussian, {"sigma": number(sigma, "--sigma")}, "--sigma")
    case = replace(target, norm="l2").case(setup)
    smoothed = Smoothed(case.network.module, noise, case.network.classes, seed=setup.seed, clip=case.data.clip)
    with output.progress("attacking") as told:
        summary, _ = smooth_assault(case, smoothed, chosen, out, told)
    output.result("attack", {"run": str(out) if out else None, **summary.written()})
    _show_smoothed(output, str(target.model), summary)


def _table(output: Output, subject: str, summary: SummaryLine) -> None:
    title = f"{subject}  eps {summary.eps:.6g} {summary.norm}, {summary.count} examples"
    rows = [(name, percent(summary.accuracy[name])) for name in ("clean", "attacked")]
    output.table(title, ("accuracy", "[95 % interval]"), rows)


def _show(output: Output, model: str, summary: SummaryLine) -> None:
    _table(output, model, summary)
    output.text(f"{summary.seconds:.1f} s.  An attack that fails proves nothing: epsball verify {model}")


def _show_smoothed(output: Output, model: str, summary: SummaryLine) -> None:
    _table(output, f"{model} smoothed by {summary.noise}", summary)
    tried = round(summary.accuracy["clean"].value * (summary.count or 0))
    output.text(
        f"The attack changed {percent(summary.success)} of {tried} right answers to another class; on "
        f"{summary.abstained_under_attack} more the smoothed classifier now abstains, which is no success. Each answer is the "
        f"vote of {summary.votes} noisy copies, and wrong with probability at most {summary.alpha:g}."
    )
    output.text(f"{summary.seconds:.1f} s.  An attack that fails proves nothing: epsball certify {model} --sigma {summary.sigma:g}")
