"""`epsball certify`: randomized smoothing, with a stated probability of error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer

from epsball.cli.common import Output, Part, Resume, number, shard
from epsball.cli.spread import defaults
from epsball.cli.target import Examples, Setup, folder_of
from epsball.errors import BadConfig

T = TypeVar("T")
_OF_NOISE = "noise."
_BATCH = 256


def certify(  # noqa: PLR0913 - one parameter an option
    *,
    sigma: Annotated[str, typer.Option("--sigma", help="Scale of the noise, in units of the inputs.")] = "0.25",
    noise: Annotated[
        str, typer.Option("--noise", help="See `epsball list noises`, and `epsball list exact-noises` for those without chance.")
    ] = "gaussian",
    radius: Annotated[str | None, typer.Option("--radius", help="Certify at this radius; default: the largest one.")] = None,
    procedure: Annotated[
        str | None, typer.Option("--procedure", help="See `epsball list procedures`; default: sequential.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="option=value of the procedure, such as cap=10000; noise.KEY=value: of the noise."),
    ] = None,
    alpha: Annotated[str, typer.Option("--alpha", help="Probability of a wrong certificate, for each image.")] = "0.001",
    selection: Annotated[int, typer.Option("--selection", help="Samples that choose the class.")] = 100,
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of one forward pass.")] = None,
    denoiser: Annotated[
        Path | None, typer.Option("--denoiser", help="A run of `epsball train denoise`, to put in front of the network.")
    ] = None,
    target: Annotated[Examples, defaults(index="::100")],
    part: Part = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Ray cluster: its address, auto, or local.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: MODEL/certify-DATA-NOISE-SIGMA.")] = None,
    resume: Resume = False,
    setup: Setup,
    output: Output,
) -> None:
    """Certify the smoothed classifier on test examples: class and radius, or an abstention."""
    from epsball.config import options
    from epsball.run.certifiers import Certifier, Counting, Sampling
    from epsball.run.certify import Certification
    from epsball.run.cluster import Cluster
    from epsball.run.denoise import put_before
    from epsball.smoothing.core import Smoothed
    from epsball.smoothing.enumeration import enumerations
    from epsball.smoothing.noise import noises
    from epsball.smoothing.procedures import procedures
    from epsball.verification.survey import shard as take

    own = [text.removeprefix(_OF_NOISE) for text in settings or [] if text.startswith(_OF_NOISE)]
    rest = [text for text in settings or [] if not text.startswith(_OF_NOISE)]
    i, n = shard(part)
    case = target.case(setup, lambda all_: take(all_, i - 1, n))
    module = case.network.module if denoiser is None else put_before(denoiser, case.network)
    certifier: Certifier
    if noise in enumerations:
        _nothing_sampled(noise, {"--radius": radius, "--procedure": procedure, "--set": rest})
        certifier = Counting(module, _law(enumerations[noise], sigma, own), case.network.classes, batch or _BATCH)
    else:
        law, chosen = _law(noises[noise], sigma, own), options(procedures[procedure or "sequential"], rest, "procedure")
        smoothed = Smoothed(module, law, case.network.classes, batch=batch, seed=setup.seed, clip=case.data.clip)
        goal = None if radius is None else number(radius, "--radius")
        certifier = Sampling(smoothed, chosen, number(alpha, "--alpha"), selection, goal)
    name = f"certify-{target.data}-{noise}-{sigma}" + ("" if denoiser is None else "-denoised") + (f"-{part}" if part else "")
    path = out or folder_of(target.model) / name.replace("/", "_")
    machines = None if cluster is None else Cluster(cluster, gpus=float(case.device.type == "cuda"))
    with output.progress("certifying") as told:
        summary = Certification(case, certifier, machines, told, denoiser).run(path, resume=resume)
    output.result("certify", {"run": str(path), **summary})
    _show(output, path, summary)


def _law(kind: type[T], sigma: str, settings: list[str]) -> T:
    """The noise of that kind whose first option is its scale."""
    from epsball.config import options

    scale = next(iter(fields(cast("Any", kind)))).name
    return options(kind, [f"{scale}={number(sigma, '--sigma')!r}", *settings], "noise")


def _nothing_sampled(noise: str, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value:
            raise BadConfig(
                f"{noise} noise is counted without chance: nothing is sampled",
                where=name,
                fix="leave it out; --set noise.KEY=VALUE sets an option of the noise",
            )


def _show(output: Output, path: Path, summary: dict[str, Any]) -> None:
    rows = [
        (f"{point['radius']:g}", f"{100 * point['accuracy']:.1f} %", f"{100 * point['low']:.1f} to {100 * point['high']:.1f}")
        for point in summary["curve"]
    ]
    title = f"{path}  {summary['noise']}, {summary['count']} images"
    output.table(title, ("radius", "certified accuracy", "95 % interval"), rows)
    radius = summary["average_radius"]
    each, alpha = summary["samples"] / summary["count"], summary["alpha"]
    chance = f"each certificate is wrong with probability at most {alpha:g}" if alpha else "no chance is involved"
    output.text(
        f"{each:,.0f} samples an image, {summary['seconds']:.1f} s; {chance}.  "
        f"Average certified radius {radius['value']:.3f} +- {radius['error']:.3f}."
    )
