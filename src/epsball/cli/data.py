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
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to; default: the user's cache.")] = None,
    given: Annotated[Path | None, typer.Option("--from", help="A copy of your own to take: an archive or a folder.")] = None,
    output: Output,
) -> None:
    """Fetch a data set: says what and how big, verifies its hashes, prints its terms."""
    from epsball.data.fetch import get as fetch

    written = fetch(name, folder, say=output.say, given=given)
    output.result("data", {"name": name, "folder": str(written)})
    output.answer(f"{name} is in {written}")


def add(  # noqa: PLR0913 - one parameter an option
    name: Name,
    path: Annotated[
        Path, typer.Argument(help="A folder of idx files, an .npz of four arrays, Tiny ImageNet's layout, or a CSV table.")
    ],
    *,
    target: Annotated[str | None, typer.Option("--target", help="Of a CSV table: the column with the class.")] = None,
    categorical: Annotated[str, typer.Option("--categorical", help="Columns of numbers that are categories: a,b.")] = "",
    integer: Annotated[str, typer.Option("--integer", help="Columns of whole numbers: a,b.")] = "",
    drop: Annotated[str, typer.Option("--drop", help="Columns to leave out: a,b.")] = "",
    test: Annotated[float, typer.Option("--test", help="The part of a table that is the test set.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Of the split of a table.")] = 0,
    output: Output,
) -> None:
    """Add a data set of your own under a name."""
    from epsball.data.table import Table, words
    from epsball.data.user import add as add_set
    from epsball.errors import BadConfig

    if target is None and (path.suffix.lower() == ".csv" or categorical or integer or drop or (test, seed) != (0.2, 0)):
        raise BadConfig("a table without a target", where="--target", fix="name the column with the class: --target NAME")
    csv = target and Table(target, words(categorical), words(integer), words(drop), test, seed)
    written = add_set(name, path, csv=csv or None)
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
