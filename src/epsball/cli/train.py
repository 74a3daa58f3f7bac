"""`epsball train`: a recipe or a TOML file, in a run folder of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Anyway, Output
from epsball.cli.results import show_results
from epsball.cli.target import Device
from epsball.errors import BadConfig, did_you_mean

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
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training examples.")] = None,
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
    from epsball.config import against, load, load_threat
    from epsball.run.seeds import parse_seeds, seeds_of

    given = {
        "recipe.eps": eps, "train.epochs": epochs, "train.batch": batch, "train.protocol": protocol, "train.seed": seed,
        "train.certify_train": certify_train,
        "data.name": data, "model.name": model,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    if threat is not None:
        if eps is not None:
            raise BadConfig("--eps beside a threat", where=f"--eps {eps}", fix="the file says it all: leave --eps out")
        overrides.append("recipe.eps=1")
    if resume is not None:
        if recipe is not None or overrides or settings or seeds:
            raise BadConfig(
                "a resumed run keeps its configuration", where="--resume", fix="give --resume RUN alone, or start a new run"
            )
        config = load(resume / "config.toml")
    else:
        config = load(_source(recipe, model or "cnn-small", epochs), [*overrides, *(settings or [])])
        config = config if threat is None else against(config, load_threat(threat))
    path = resume or out or Path("runs") / f"{config.data.name}-{_stem(recipe)}-{time.strftime('%Y%m%d-%H%M%S')}"
    several = seeds_of(path) if resume else parse_seeds(seeds, config.train.seed) if seeds else None
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


def _source(recipe: str | None, model: str, epochs: int | None) -> Path | str:
    """A TOML file as it is; the name of a setting as its text; that of a recipe with schedules fitted to the epochs."""
    from epsball.training.base import fitted, recipes
    from epsball.training.config import TrainConfig
    from epsball.training.settings import names, text

    if recipe is None:
        raise BadConfig(
            "no recipe was named", where="epsball train", fix="epsball train fast-ibp --eps 0.1; see: epsball list recipes"
        )
    if recipe.endswith(".toml"):
        return Path(recipe)
    if recipe in names():
        return text(recipe)
    if recipe not in recipes:
        hint = did_you_mean(recipe, [*recipes, *names()])
        raise BadConfig(
            f"unknown recipe or setting {recipe!r}", fix=f"{hint or ''} see: epsball list recipes, epsball list settings".strip()
        )
    norm = "\nbatch_norm = true" if model == "cnn-small" else ""
    length = epochs or TrainConfig().epochs
    schedule = "".join(f"\n{name} = {value}" for name, value in fitted(recipes[recipe], length).items())
    return f"""
[recipe]
name = "{recipe}"{schedule}
[train]
milestones = [{0.75 * length}, {0.9 * length}]
[model]
name = "{model}"{norm}
[data]
name = "mnist"
"""


def _stem(recipe: str | None) -> str:
    return Path(recipe or "run").stem
