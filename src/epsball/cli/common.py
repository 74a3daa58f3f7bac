"""What every verb shares: its output, and how it reads numbers, ranges and shards."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from epsball.cli.progress import Told, Unheard, shown
from epsball.cli.tables import TableForm, separated, show
from epsball.errors import BadConfig

if TYPE_CHECKING:
    import torch

    from epsball.record.lines import Rate

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object with a versioned schema instead of text.")]
Shape = Annotated[
    TableForm | None,
    typer.Option("--format", help="Of tables; default: table on a terminal, tsv elsewhere; json is --json.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
Part = Annotated[str | None, typer.Option("--shard", help="i/n: the i-th of n parts of the index, from 1.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in that folder.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="With --resume: go on though another version of the code began; the record says so.")
]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a verb's results go: text for people, lines for programs, or one JSON object.

    In a form for programs standard output holds the tables alone, with an empty line between two of them; titles and sentences
    are on the error stream.

    Raises:
        BadConfig: `--json` beside another form.
    """

    as_json: Json = False
    shape: Shape = None
    quiet: Quiet = False

    def __post_init__(self) -> None:
        if self.as_json and self.shape not in (None, TableForm.JSON):
            raise BadConfig("two forms of one result", where=f"--json --format {self.shape}", fix="leave one of them out")

    @cached_property
    def form(self) -> TableForm:
        """The form that was asked for, or the one that suits where the results go."""
        if self.as_json:
            return TableForm.JSON
        return self.shape or (TableForm.TABLE if self.console.is_terminal else TableForm.TSV)

    @property
    def silent(self) -> bool:
        """Whether nothing is told of the progress."""
        return self.quiet or self.form is TableForm.JSON

    @cached_property
    def console(self) -> Console:
        """For results."""
        return Console(highlight=False, soft_wrap=True)

    @cached_property
    def notes(self) -> Console:
        """For progress and messages, on the error stream."""
        return Console(stderr=True, highlight=False, soft_wrap=True)

    @cached_property
    def _written(self) -> list[str]:
        """Titles of the tables so far."""
        return []

    def say(self, text: str) -> None:
        """A line of progress, on the error stream."""
        if not self.silent:
            self.notes.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of results; a column of numbers is one whose cells all are."""
        if self.form is TableForm.TABLE:
            show(self.console, title, columns, rows)
        elif self.form is not TableForm.JSON:
            if title.strip():
                self.say(title.strip())
            sys.stdout.write(("\n" if self._written else "") + separated(self.form, columns, rows))
            self._written.append(title)

    def text(self, text: str) -> None:
        """A sentence beside a table."""
        if self.form is TableForm.TABLE:
            self.console.print(text, markup=False)
        else:
            self.say(text)

    def answer(self, text: str) -> None:
        """The whole result of a verb without a table."""
        if self.form is not TableForm.JSON:
            self.console.print(text, markup=False)

    def result(self, schema: str, body: Mapping[str, Any]) -> None:
        """The verb's result as JSON, if asked for."""
        if self.form is TableForm.JSON:
            sys.stdout.write(json.dumps({"schema": f"epsball.{schema}/1", **body}, default=str) + "\n")

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Told]:
        """A bar on a terminal, a plain line now and then elsewhere, nothing if quiet."""
        if self.silent:
            yield Unheard()
            return
        with shown(what, self.notes) as told:
            yield told


def number(text: str, name: str) -> float:
    """A float from "0.1", "8/255" or "1e-3".

    Raises:
        BadConfig: not a number.
    """
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise BadConfig(f"{text!r} is not a number", where=name, fix="give 0.1, 1e-3 or an exact fraction such as 8/255") from error


def radius(text: str, clip: tuple[float, float] | None, kind: str = "linf", *, where: str = "--eps") -> float:
    """A size that makes sense: for linf, with inputs in a valid range, no more than the range.

    Raises:
        BadConfig: negative, or larger than the range itself.
    """
    eps = number(text, where)
    if eps < 0:
        raise BadConfig(f"{where[2:]} {text} is negative", where=where, fix="give a radius of at least 0")
    if kind == "linf" and clip is not None and eps > clip[1] - clip[0]:
        raise BadConfig(
            f"{where[2:]} {text} is larger than the whole valid range {clip}",
            where=where,
            fix=f"{where[2:]} is in units of the inputs: 8/255, not 8",
        )
    return eps


def indices(text: str, count: int) -> torch.Tensor:
    """The examples that an --index option names.

    Raises:
        BadConfig: malformed, or out of range.
    """
    import torch

    how = "give 7, 0:200, :200, ::20 or 1,5,9"
    try:
        if ":" in text:
            parts = [int(p) if p else None for p in text.split(":")]
            chosen = list(range(count))[slice(*parts)]
        else:
            chosen = [int(p) for p in text.split(",")]
    except (ValueError, TypeError) as error:
        raise BadConfig(f"{text!r} names no examples", where="--index", fix=how) from error
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise BadConfig(f"{text!r} names no examples, or some outside 0..{count - 1}", where="--index", fix=how)
    return torch.tensor(chosen)


def shard(text: str | None) -> tuple[int, int]:
    """The (i, n) of --shard i/n, counted from 1.

    Raises:
        BadConfig: malformed.
    """
    if text is None:
        return 1, 1
    try:
        i, n = (int(p) for p in text.split("/"))
    except ValueError as error:
        raise BadConfig(f"{text!r} is not a shard", where="--shard", fix="give i/n, such as 2/8") from error
    if not 1 <= i <= n:
        raise BadConfig(f"shard {i} of {n} does not exist", where="--shard", fix="i counts from 1 to n")
    return i, n


def percent(accuracy: Rate | None) -> str:
    """An accuracy with its 95 % interval."""
    return "-" if accuracy is None else f"{100 * accuracy.value:.2f} % [{100 * accuracy.low:.2f}, {100 * accuracy.high:.2f}]"
