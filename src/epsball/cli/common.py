"""What every verb shares: its common options, its output, and how it reads ranges and shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from epsball.errors import BadConfig, did_you_mean

if TYPE_CHECKING:
    import torch

_NORMS = ("linf", "l2", "l1", "l0")  # those of spec.sets, which would import torch

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object with a versioned schema instead of text.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results only.")]
Data = Annotated[str, typer.Option("--data", help="Data set: see `epsball list data`.")]
Eps = Annotated[
    str, typer.Option("--eps", help="Radius in units of the inputs (pixels in [0, 1]); fractions such as 8/255 are exact.")
]
NormOption = Annotated[str, typer.Option("--norm", help="linf, l2, l1 or l0 (--eps features change to any value).")]
Perturbation = Annotated[
    str | None,
    typer.Option(
        "--perturbation",
        help="patch, rotation, translation, brightness, contrast, or words (synonyms), instead of a ball: `epsball list sets`.",
    ),
]
Size = Annotated[str | None, typer.Option("--size", help="Size of the --perturbation: pixels a side, degrees, pixels, share, ...")]
Index = Annotated[str, typer.Option("--index", help="Test examples: 7, 0:200, :200, ::20 or 1,5,9.")]
Model = Annotated[Path, typer.Argument(help="A run folder, a .safetensors checkpoint or an .onnx file.")]


class Output:
    """Where a verb's results go: text for people, or one JSON object."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet = as_json, quiet
        self.console = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of progress, on the error stream."""
        if not (self.quiet or self.as_json):
            self.notes.print(text, markup=False)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table of results; the first column is text, the others are numbers."""
        if self.as_json:
            return
        table = Table(title=title or None, title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def text(self, text: str) -> None:
        """A line of results."""
        if not self.as_json:
            self.console.print(text, markup=False)

    def result(self, schema: str, body: Mapping[str, Any]) -> None:
        """The verb's result as JSON, if asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps({"schema": f"epsball.{schema}/1", **body}, default=str) + "\n")


def number(text: str, name: str) -> float:
    """A float from "0.1", "8/255" or "1e-3".

    Raises:
        BadConfig: not a number.
    """
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError) as error:
        raise BadConfig(f"{text!r} is not a number", where=name, fix="give 0.1, 1e-3 or an exact fraction such as 8/255") from error


def named_set(norm: str, eps: str, perturbation: str | None, size: str | None) -> tuple[str, str]:
    """The kind of set that the options name, and its size.

    Raises:
        BadConfig: an unknown norm, a perturbation without its size, or a size without a perturbation.
    """
    if perturbation is None:
        if size is not None:
            raise BadConfig("a size belongs to a perturbation", where="--size", fix="give --perturbation NAME, or --eps for a ball")
        if norm not in _NORMS:
            hint = did_you_mean(norm, _NORMS)
            raise BadConfig(f"unknown norm {norm!r}", where="--norm", fix=hint or f"use {', '.join(_NORMS)}")
        return norm, eps
    if perturbation in _NORMS:
        raise BadConfig(f"{perturbation} is a norm", where="--perturbation", fix=f"use --norm {perturbation} --eps ...")
    if size is None:
        raise BadConfig(
            f"how large a {perturbation}?", where="--size", fix="give --size, in the unit that `epsball list sets` shows"
        )
    return perturbation, size


def radius(text: str, clip: tuple[float, float] | None, kind: str = "linf") -> float:
    """A size that makes sense: for linf, with inputs in a valid range, no more than the range.

    Raises:
        BadConfig: negative, or larger than the range itself.
    """
    where = "--eps" if kind in _NORMS else "--size"
    eps = number(text, where)
    if eps < 0:
        raise BadConfig(f"{where[2:]} {text} is negative", where=where, fix="give a radius of at least 0")
    if kind == "linf" and clip is not None and eps > clip[1] - clip[0]:
        raise BadConfig(
            f"eps {text} is larger than the whole valid range {clip}",
            where="--eps",
            fix="eps is in units of the inputs: 8/255, not 8",
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


def percent(accuracy: Mapping[str, float]) -> str:
    """An accuracy with its 95 % interval."""
    return f"{100 * accuracy['value']:.2f} % [{100 * accuracy['low']:.2f}, {100 * accuracy['high']:.2f}]"
