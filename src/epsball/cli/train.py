"""`epsball train`: a recipe or a TOML file, in a run folder of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from epsball.cli.common import Device, Json, Output, Quiet, percent
from epsball.errors import BadConfig, did_you_mean

_RECIPE = "A recipe (`epsball list recipes`), a published setting (`epsball list settings`) or a TOML file; not with --resume."


def train(  # noqa: PLR0913 - one parameter an option
    recipe: Annotated[str | None, typer.Argument(help=_RECIPE)] = None,
    *,
    data: Annotated[str | None, typer.Option("--data", help="Data set: see `epsball list data`; default: mnist.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Architecture: see `epsball list models`; default: cnn-small.")
    ] = None,
    eps: Annotated[str | None, typer.Option("--eps", help="Radius; exact fractions such as 8/255 are welcome.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training examples.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Examples a step.")] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="validation, or literature: select on the test set, as papers do.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="table.key=value; may be given often.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: runs/DATA-RECIPE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on with the run in this folder.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random; default: 0.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Several runs: a count, or a list such as 0,3,17.")] = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network. Ctrl-C leaves a whole checkpoint; go on with --resume."""
    from epsball.config import load
    from epsball.device import resolve
    from epsball.run.seeds import parse_seeds, seeds_of, start_seeds
    from epsball.run.start import start
    from epsball.run.track import screen

    output = Output(as_json=json, quiet=quiet)
    given = {
        "recipe.eps": eps, "train.epochs": epochs, "train.batch": batch, "train.protocol": protocol, "train.seed": seed,
        "data.name": data, "model.name": model,
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    if resume is not None:
        if recipe is not None or overrides or settings or seeds:
            raise BadConfig(
                "a resumed run keeps its configuration", where="--resume", fix="give --resume RUN alone, or start a new run"
            )
        config = load(resume / "config.toml")
    else:
        config = load(_source(recipe, model or "cnn-small", epochs), [*overrides, *(settings or [])])
    path = resume or out or Path("runs") / f"{config.data.name}-{_stem(recipe)}-{time.strftime('%Y%m%d-%H%M%S')}"
    several = seeds_of(path) if resume else parse_seeds(seeds, config.train.seed) if seeds else None
    follow, where = screen(quiet=quiet or json), resolve(device)
    if several:
        summary = start_seeds(config, path, several, follow, device=where, resume=resume is not None)
    else:
        summary = start(config, path, follow, device=where, resume=resume is not None)
    output.result("train", {"run": str(path), **summary})
    if several:
        _show_seeds(output, path, summary)
    else:
        _show(output, path, summary)


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


def _show(output: Output, path: Path, summary: dict[str, Any]) -> None:
    chosen = f"epoch {summary['selected']['epoch']} of {summary['epochs']}, selected on {summary['split']} ({summary['protocol']})"
    rows = [(_measure(name, summary), percent(found)) for name, found in summary["accuracy"].items()]
    output.table(str(path), ("measure", "value"), [*rows, ("model", chosen), ("seconds", f"{summary['seconds']:.1f}")])
    noisy = "noisy" in summary["accuracy"]
    verb, scale = ("certify", f"--sigma {summary['sigma']:.6g}") if noisy else ("verify", f"--eps {summary['eps']:.6g}")
    what = f"{summary['classifier']} --denoiser {path}" if "classifier" in summary else path
    output.text(f"next:  epsball {verb} {what} --data {summary['data']} {scale}")


def _measure(name: str, summary: dict[str, Any]) -> str:
    """An accuracy with the radius or the noise that it is measured at."""
    if name == "verified":
        return f"verified accuracy, eps {summary['eps']:.6g} ({', '.join(summary['verified_by'])})"
    return f"accuracy under noise, sigma {summary['sigma']:.6g}" if name == "noisy" else f"{name} accuracy"


def _show_seeds(output: Output, path: Path, summary: dict[str, Any]) -> None:
    def cell(name: str) -> str:
        found = summary["accuracy"][name]
        return f"{100 * found['value']:.2f} +- {100 * found['std']:.2f} %"

    output.table(
        str(path),
        ("measure", f"mean and deviation of {len(summary['runs'])} runs"),
        [
            *((_measure(name, summary), cell(name)) for name in summary["accuracy"]),
            ("selection", f"on {summary['split']} ({summary['protocol']})"),
            ("seconds", f"{summary['seconds']:.1f}"),
        ],
    )
