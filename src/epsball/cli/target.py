"""What a verb looks at, as its options name it: a network on test examples, in balls or other sets around them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from epsball.cli.common import indices, number, radius, shard
from epsball.errors import BadConfig, did_you_mean

if TYPE_CHECKING:
    from epsball.models.opened import Layout, Reading
    from epsball.problem.threat import Threat
    from epsball.run.case import Case

NORMS = ("linf", "l2", "l1", "l0")  # those of spec.sets, which would import torch
_NAMED = 32  # the longest list of examples that a folder is named after
_EPS, _NORM = "0.1", "linf"
# typer would show a default of None as nothing, and another text as "(0.1)"
_EPS_HELP = f"Radius in units of the inputs (pixels in [0, 1]); fractions such as 8/255 are exact.  [default: {_EPS}]"
_NORM_HELP = f"linf, l2, l1 or l0 (--eps features change to any value).  [default: {_NORM}]"

Model = Annotated[
    Path,
    typer.Argument(
        help="A run folder, a .safetensors checkpoint, an .onnx file, weights (.pt, .pth) with --arch, or model.py:function."
    ),
]
Data = Annotated[str, typer.Option("--data", help="Data set: see `epsball list data`.")]
Index = Annotated[str, typer.Option("--index", help="Test examples: 7, 0:200, :200, ::20 or 1,5,9.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Record = Annotated[Path | None, typer.Option("--out", "-o", help="Run folder for the record; default: none is written.")]


@dataclass(frozen=True)
class Setup:
    """What every run over a network is made with."""

    seed: Seed = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        from epsball.device import check_seed

        check_seed(self.seed, "--seed")

    @property
    def reading(self) -> Reading:
        """How the network's file is read: as it is."""
        from epsball.models.opened import Reading

        return Reading()


@dataclass(frozen=True)
class Opening(Setup):
    """The same, over a network from any file, and what the file does not say."""

    layout: Annotated[
        str | None, typer.Option("--layout", help="How an ONNX file reads pictures: nchw, or nhwc for channels last.")
    ] = None
    mean: Annotated[
        str | None, typer.Option("--mean", help="Mean of the inputs it was trained on, per channel, such as 0.49,0.48,0.45.")
    ] = None
    std: Annotated[str | None, typer.Option("--std", help="Their deviation, likewise; inputs stay in [0, 1].")] = None
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="Of a network with one output: class 1 is above it.  [default: 0]")
    ] = None
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="What weights alone are of: cnn-small, mlp:hidden=[20,20], ...; see `epsball list models`."),
    ] = None

    @property
    def reading(self) -> Reading:
        """How the network's file is read.

        Raises:
            BadConfig: what is no number, an unknown layout, or a mean without a deviation.
        """
        from epsball.models.opened import Reading

        mean, std = (None if v is None else _numbers(v, name) for v, name in ((self.mean, "--mean"), (self.std, "--std")))
        threshold = 0.0 if self.threshold is None else number(self.threshold, "--threshold")
        return Reading(cast("Layout | None", self.layout), mean, std, threshold, self.arch)


@dataclass(frozen=True)
class TargetExamples:
    """A network, and test examples."""

    model: Model
    data: Data = "mnist"
    index: Index = ":"

    @property
    def around(self) -> tuple[str, str]:
        """The kind of the sets around the examples, and their size as it was given; here each example is alone."""
        return "l2", "0"

    @property
    def size_option(self) -> str:
        """The option that gives the size of the sets, for messages."""
        return "--eps"

    @property
    def title(self) -> str:
        """The network and the sets, for the heading of a table."""
        return "{}  {} {}".format(self.model, *self.around)

    def asked(self) -> Threat | None:
        """The threat of a file, where one was named."""
        return None

    def case(self, setup: Setup, part: str | None = None) -> Case:
        """The network beside its examples, or beside the `part` i/n of them.

        Raises:
            BadConfig, BadFile, BadShape, BadData: what the options name does not exist, cannot be read, or does not fit.
        """
        import torch

        from epsball.data.find import load
        from epsball.device import resolve
        from epsball.record.hashes import hashed
        from epsball.run.case import Shard, open_case
        from epsball.verification.survey import shard as take

        found = load(self.data)
        whole = indices(self.index, len(found.test))
        threat = self.asked()
        if threat is None:
            kind, size = self.around
            eps = radius(size, found.clip, kind, where=self.size_option)
        else:
            kind, eps = threat.kind, threat.size
        i, n = shard(part)
        chosen = torch.tensor(take(whole.tolist(), i - 1, n), dtype=torch.long)
        if not len(chosen):
            raise BadConfig(f"{len(whole)} examples have no shard {i} of {n}", where="--shard", fix="use fewer shards")
        where = resolve(setup.device)
        case = open_case(
            self.model, found, chosen, eps, norm=kind, seed=setup.seed, device=where, reading=setup.reading, threat=threat
        )
        return case if part is None else replace(case, shard=Shard(i, n, hashed(whole)))


@dataclass(frozen=True)
class Balls(TargetExamples):
    """A network in balls around test examples. None stands for the default, so that it is known what was given."""

    eps: Annotated[str | None, typer.Option("--eps", help=_EPS_HELP, show_default=False)] = None
    norm: Annotated[str | None, typer.Option("--norm", help=_NORM_HELP, show_default=False)] = None

    @property
    def around(self) -> tuple[str, str]:
        """Norm and radius.

        Raises:
            BadConfig: an unknown norm.
        """
        norm = self.norm or _NORM
        if norm not in NORMS:
            hint = did_you_mean(norm, NORMS)
            raise BadConfig(f"unknown norm {norm!r}", where="--norm", fix=hint or f"use {', '.join(NORMS)}")
        return norm, self.eps or _EPS


@dataclass(frozen=True)
class Sets(Balls):
    """A network in balls around test examples, or in sets of another kind."""

    perturbation: Annotated[
        str | None,
        typer.Option(
            "--perturbation",
            help="patch, rotation, translation, brightness, contrast, or words (synonyms), instead of a ball: `epsball list sets`.",
        ),
    ] = None
    size: Annotated[
        str | None, typer.Option("--size", help="Size of the --perturbation: pixels a side, degrees, pixels, share, ...")
    ] = None

    threat: Annotated[
        Path | None,
        typer.Option("--threat", help="A TOML file that says what may happen to an input, instead of --eps and --norm."),
    ] = None

    def asked(self) -> Threat | None:
        """The threat of the file.

        Raises:
            BadConfig: a ball or a perturbation beside it.
            BadFile: no such file, or it is not TOML.
        """
        from epsball.config import load_threat

        if self.threat is None:
            return None
        for name, value in (
            ("--eps", self.eps),
            ("--norm", self.norm),
            ("--perturbation", self.perturbation),
            ("--size", self.size),
        ):
            if value is not None:
                raise BadConfig(f"{name} beside a threat", where=f"{name} {value}", fix=f"the file says it all: leave {name} out")
        return load_threat(self.threat)

    @property
    def size_option(self) -> str:
        """That of the balls, or that of the perturbation."""
        return super().size_option if self.perturbation is None else "--size"

    @property
    def around(self) -> tuple[str, str]:
        """Norm and radius, or perturbation and size.

        Raises:
            BadConfig: an unknown norm, a perturbation without its size or beside a ball, or a size without a perturbation.
        """
        kind, size = self.perturbation, self.size
        if self.threat is not None:
            return "threat", self.threat.stem
        if kind is None:
            if size is not None:
                raise BadConfig(
                    "a size belongs to a perturbation", where="--size", fix="give --perturbation NAME, or --eps for a ball"
                )
            return super().around
        if kind in NORMS:
            raise BadConfig(f"{kind} is a norm", where="--perturbation", fix=f"use --norm {kind} --eps ...")
        for name, value in (("--eps", self.eps), ("--norm", self.norm)):
            if value is not None:
                fix = f"leave {name} out: the size of a {kind} is --size; or leave --perturbation out"
                raise BadConfig(f"{name} is of balls, and a {kind} was asked for", where=f"{name} {value}", fix=fix)
        if size is None:
            raise BadConfig(f"how large a {kind}?", where="--size", fix="give --size, in the unit that `epsball list sets` shows")
        return kind, size


def _numbers(text: str, name: str) -> tuple[float, ...]:
    return tuple(number(part, name) for part in text.split(","))


def slice_named(index: str) -> str:
    """What an --index option is called in a folder's name: 0-100, 300-end, 0-end-by-20, 1,5,9; "" for all.

    A long list is its length and a digest.
    """
    if ":" not in index:
        name = index.replace(" ", "")
        return name if len(name) <= _NAMED else f"{name.count(',') + 1}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    start, stop, step = (part.strip() for part in (index + "::").split(":")[:3])
    if not (start or stop or step):
        return ""
    return f"{start or 0}-{stop or 'end'}" + (f"-by-{step}" if step not in ("", "1") else "")


def run_named(*parts: str | None) -> str:
    """The name of a run's folder, from what was asked for; no part of it is a path."""
    return "-".join(part for part in parts if part).replace("/", "_").replace(",", "+")


def folder_of(model: Path) -> Path:
    """Where runs over a network go by default: its own run folder, or the one that its file lies in."""
    return model if model.is_dir() else model.parent
