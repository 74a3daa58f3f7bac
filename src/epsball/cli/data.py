"""`epsball data get|add|check`: data sets, never fetched silently."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epsball.cli.common import Json, Output, Quiet

app = typer.Typer(help="Fetch, add and check data sets.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="A data set: see `epsball list data`.")]


@app.command("get")
def get(
    name: Name,
    *,
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to; default: the user's cache.")] = None,
    given: Annotated[Path | None, typer.Option("--from", help="A copy of your own to take: an archive or a folder.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a data set: says what and how big, verifies its hashes, prints its terms."""
    from epsball.data.fetch import get as fetch

    out = Output(as_json=json, quiet=False)
    written = fetch(name, folder, say=out.say, given=given)
    out.result("data", {"name": name, "folder": str(written)})
    if not quiet:
        out.text(f"{name} is in {written}")


@app.command("add")
def add(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A folder of idx files, an .npz of four arrays, or Tiny ImageNet's layout.")],
    *,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add a data set of your own under a name."""
    from epsball.data.user import add as add_set

    out = Output(as_json=json, quiet=quiet)
    written = add_set(name, path)
    out.result("data", {"name": name, "folder": str(written)})
    out.text(f"{name} is in {written}")


@app.command("check")
def check(name: Name, *, json: Json = False, quiet: Quiet = False) -> None:
    """Check a data set that is here: hashes, shapes, labels."""
    from epsball.data.user import check as check_set

    out = Output(as_json=json, quiet=quiet)
    found = check_set(name)
    out.result("data", {"name": name, **found})
    out.table(name, ("what", "value"), [(str(k), str(v)) for k, v in found.items()])
