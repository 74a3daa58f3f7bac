"""`epsball data get|add|check`: data sets, never fetched silently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Output
from epsball.cli.spread import add as register

Name = Annotated[str, typer.Argument(help="A data set: see `epsball list data`.")]


def get(
    name: Name,
    *,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="A folder of data sets, as in EPSBALL_DATA; default: the user's cache.")
    ] = None,
    given: Annotated[Path | None, typer.Option("--from", help="A copy of your own to take: an archive or a folder.")] = None,
    output: Output,
) -> None:
    """Fetch a data set: says what and how big, verifies its hashes, prints its terms."""
    from epsball.data.fetch import get as fetch
    from epsball.data.fetch import place

    written = fetch(name, place(name, folder), say=output.say, given=given)
    output.result("data", {"name": name, "folder": str(written)})
    output.answer(f"{name} is in {written}")


def add(  # noqa: PLR0913 - one parameter an option
    name: Name,
    path: Annotated[
        Path, typer.Argument(help="A folder of pictures (one folder a class) or of idx files, an .npz or .pt file, or a CSV table.")
    ],
    *,
    target: Annotated[str | None, typer.Option("--target", help="Of a CSV table: the column with the class.")] = None,
    categorical: Annotated[str, typer.Option("--categorical", help="Columns of numbers that are categories: a,b.")] = "",
    integer: Annotated[str, typer.Option("--integer", help="Columns of whole numbers: a,b.")] = "",
    drop: Annotated[str, typer.Option("--drop", help="Columns to leave out: a,b.")] = "",
    keys: Annotated[
        str, typer.Option("--keys", help="What an .npz or .pt file calls its arrays: x=images,y=labels, or x_train=..., all four.")
    ] = "",
    test: Annotated[
        float | None,
        typer.Option("--test", help="The part of each class that is the test set, of what comes in one; default: 0.2."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of that split; default: 0.")] = None,
    output: Output,
) -> None:
    """Add a data set of your own under a name."""
    from epsball.data.split import Split
    from epsball.data.table import Table, words
    from epsball.data.user import add as add_set
    from epsball.errors import BadConfig

    if target is None and (path.suffix.lower() == ".csv" or categorical or integer or drop):
        raise BadConfig("a table without a target", where="--target", fix="name the column with the class: --target NAME")
    split = Split(0.2 if test is None else test, seed or 0)
    csv = target and Table(target, words(categorical), words(integer), words(drop), split.test, split.seed)
    written = add_set(name, path, csv=csv or None, keys=keys, split=None if csv or (test, seed) == (None, None) else split)
    output.result("data", {"name": name, "folder": str(written)})
    output.answer(f"{name} is in {written}")


def check(name: Name, *, output: Output) -> None:
    """Check a data set that is here: hashes, shapes, labels."""
    from epsball.data.user import check as check_set

    found = check_set(name)
    output.result("data", {"name": name, **found})
    output.table(name, ("what", "value"), [(str(k), str(v)) for k, v in found.items()])


app = typer.Typer(help="Fetch, add and check data sets.", no_args_is_help=True, rich_markup_mode=None)
register(app, {"get": get, "add": add, "check": check})
