"""`epsball train`: a recipe or a TOML file, in a run folder of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from epsball.cli.common import Device, Json, Output, Quiet, Seed, percent
from epsball.errors import BadConfig

_RECIPE = "A recipe that `epsball list recipes` shows, or a TOML file; left out with --resume."


def train(  # noqa: PLR0913 - one parameter an option
    recipe: Annotated[str | None, typer.Argument(help=_RECIPE)] = None,
    *,
    data: Annotated[str, typer.Option("--data", help="Data set: see `epsball list data`.")] = "mnist",
    model: Annotated[str, typer.Option("--model", help="Architecture: see `epsball list models`.")] = "cnn-small",
    eps: Annotated[str | None, typer.Option("--eps", help="Radius; exact fractions such as 8/255 are welcome.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training examples.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Examples a step.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="table.key=value; may be given often.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/DATA-RECIPE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with the run in this folder.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network. Ctrl-C leaves a whole checkpoint; go on with --resume."""
    from epsball.config import load
    from epsball.device import resolve
    from epsball.run.start import start
    from epsball.run.track import screen

    output = Output(as_json=json, quiet=quiet)
    given = {"recipe.eps": eps, "train.epochs": epochs, "train.batch": batch}
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    if resume is not None:
        if recipe is not None or overrides or settings:
            raise BadConfig(
                "a resumed run keeps its configuration", where="--resume", fix="give --resume RUN alone, or start a new run"
            )
        config = load(resume / "config.toml")
    else:
        config = load(_source(recipe, data, model, epochs, seed), [*overrides, *(settings or [])])
    path = resume or out or Path("runs") / f"{config.data.name}-{_stem(recipe)}-{time.strftime('%Y%m%d-%H%M%S')}"
    summary = start(config, path, screen(quiet=quiet or json), device=resolve(device), resume=resume is not None)
    output.result("train", {"run": str(path), **summary})
    _show(output, path, summary)


def _source(recipe: str | None, data: str, model: str, epochs: int | None, seed: int) -> Path | str:
    """A TOML file as it is; a recipe's name as the TOML text that it stands for, with schedules fitted to the epochs."""
    from epsball.training.base import fitted, recipes
    from epsball.training.config import TrainConfig

    if recipe is None:
        raise BadConfig(
            "no recipe was named", where="epsball train", fix="epsball train fast-ibp --eps 0.1; see: epsball list recipes"
        )
    if recipe.endswith(".toml"):
        return Path(recipe)
    norm = "\nbatch_norm = true" if model == "cnn-small" else ""
    length = epochs or TrainConfig().epochs
    schedule = "".join(f"\n{name} = {value}" for name, value in fitted(recipes[recipe], length).items())
    return f"""
[recipe]
name = "{recipe}"{schedule}
[train]
seed = {seed}
milestones = [{0.75 * length}, {0.9 * length}]
[model]
name = "{model}"{norm}
[data]
name = "{data}"
"""


def _stem(recipe: str | None) -> str:
    return Path(recipe or "run").stem


def _show(output: Output, path: Path, summary: dict[str, Any]) -> None:
    accuracy = summary["accuracy"]
    chosen = f"epoch {summary['selected']['epoch']} of {summary['epochs']}, selected on {summary['split']} ({summary['protocol']})"
    by = ", ".join(summary["verified_by"])
    output.table(
        str(path),
        ("measure", "value"),
        [
            ("clean accuracy", percent(accuracy["clean"])),
            (f"verified accuracy, eps {summary['eps']:.6g} ({by})", percent(accuracy["verified"])),
            ("model", chosen),
            ("seconds", f"{summary['seconds']:.1f}"),
        ],
    )
    output.text(f"next:  epsball verify {path} --data {summary['data']} --eps {summary['eps']:.6g}")
