"""`epsball train`: a recipe or a TOML file, in a run folder of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Anyway, Output
from epsball.cli.results import show_results
from epsball.cli.target import Device
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.config import RunConfig
    from epsball.record.lines import SummaryLine

_RECIPE = "A recipe (`epsball list recipes`), a published setting (`epsball list settings`) or a TOML file; not with --resume."


def train(  # noqa: PLR0913 - one parameter an option
    recipe: Annotated[str | None, typer.Argument(help=_RECIPE)] = None,
    *,
    data: Annotated[str | None, typer.Option("--data", help="Data set: see `epsball list data`; default: mnist.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Architecture: see `epsball list models`; default: cnn-small.")
    ] = None,
    eps: Annotated[str | None, typer.Option("--eps", help="Radius; exact fractions such as 8/255 are welcome.")] = None,
    threat: Annotated[
        Path | None, typer.Option("--threat", help="A TOML file that says what may happen to an input, instead of --eps.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the training examples; with --resume: go on to so many.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Examples a step.")] = None,
    certify_train: Annotated[
        int | None, typer.Option("--certify-train", help="Training examples judged at the end; 0: all; default: 1000.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="validation, or literature: select on the test set, as papers do.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="table.key=value; may be given often.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/DATA-RECIPE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with the run in this folder.")] = None,
    anyway: Anyway = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random; default: 0.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Several runs: a count, or a list such as 0,3,17.")] = None,
    device: Device = "auto",
    output: Output,
) -> None:
    """Train a network. Ctrl-C leaves a whole checkpoint; go on with --resume."""
    from epsball.config import load, load_threat
    from epsball.run.configured import configured
    from epsball.run.seeds import parse_seeds, seeds_of

    given = {
        "train.epochs": epochs, "train.batch": batch, "train.protocol": protocol, "train.seed": seed,
        "train.certify_train": certify_train,
    }  # fmt: skip
    overrides = [*(f"{key}={value}" for key, value in given.items() if value is not None), *(settings or [])]
    if resume is not None:
        more = [] if epochs is None else [f"train.epochs={epochs}"]
        if overrides != more or seeds or any(value is not None for value in (recipe, data, model, eps, threat)):
            raise BadConfig(
                "a resumed run keeps its configuration, but for its epochs",
                where="--resume",
                fix="give --resume RUN alone or with --epochs, or start a new run",
            )
        config = load(resume / "config.toml", more)
        _grows(config.train.epochs, load(resume / "config.toml").train.epochs)
    else:
        config = configured(
            recipe, overrides, data=data, model=model, eps=eps, threat=None if threat is None else load_threat(threat)
        )
    path = resume or out or Path("runs") / f"{config.data.name}-{_stem(recipe)}-{time.strftime('%Y%m%d-%H%M%S')}"
    several = seeds_of(path) if resume else parse_seeds(seeds, config.train.seed) if seeds else None
    if several and resume and epochs is not None:
        raise BadConfig(
            "several seeds keep their epochs", where="--epochs", fix="go on with one of them: --resume RUN/seed-N --epochs ..."
        )
    follow = {"resume": resume is not None, "anyway": anyway}
    summary = _run(config, path, several, device=device, quiet=output.silent, **follow)
    if summary is None:
        return  # another process leads the run, and tells of it
    output.result("train", {"run": str(path), **summary.written()})
    show_results(output, path, summary)


def _run(
    config: RunConfig, path: Path, seeds: list[int] | None, *, device: str, quiet: bool, resume: bool, anyway: bool
) -> SummaryLine | None:
    """The summary of a run, or of one for each seed; in one process or in those that torchrun started."""
    from epsball.device import resolve
    from epsball.run.seeds import start_seeds
    from epsball.run.track import screen
    from epsball.run.train import start
    from epsball.training.parallel import joined, own_device, processes

    if seeds and processes() > 1:
        raise BadConfig("several seeds in several processes", where="--seeds", fix="start one seed at a time with --seed")
    where = own_device(resolve(device))
    with joined(where) as team:
        follow = screen(quiet=quiet or not team.leads)
        if seeds:
            return start_seeds(config, path, seeds, follow, device=where, resume=resume, anyway=anyway)
        return start(config, path, follow, device=where, resume=resume, anyway=anyway)


def _grows(epochs: int, before: int) -> None:
    if epochs < before:
        raise BadConfig(
            f"the run has {before} epochs, and {epochs} are asked for", where=f"--epochs {epochs}", fix=f"give {before + 1} or more"
        )


def _stem(recipe: str | None) -> str:
    return Path(recipe or "run").stem
