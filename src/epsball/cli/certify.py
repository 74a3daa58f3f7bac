"""`epsball certify`: randomized smoothing, with a stated probability of error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from epsball.cli.common import Output, Part, Resume, number, shard
from epsball.cli.spread import defaults
from epsball.cli.target import Examples, Setup, folder_of


def certify(  # noqa: PLR0913 - one parameter an option
    *,
    sigma: Annotated[str, typer.Option("--sigma", help="Scale of the noise, in units of the inputs.")] = "0.25",
    noise: Annotated[str, typer.Option("--noise", help="See `epsball list noises`.")] = "gaussian",
    radius: Annotated[str | None, typer.Option("--radius", help="Certify at this radius; default: the largest one.")] = None,
    procedure: Annotated[str, typer.Option("--procedure", help="See `epsball list procedures`.")] = "sequential",
    settings: Annotated[list[str] | None, typer.Option("--set", help="option=value of the procedure, such as cap=10000.")] = None,
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
    from epsball.config import build, options
    from epsball.run.certify import Certification
    from epsball.run.cluster import Cluster
    from epsball.run.denoise import put_before
    from epsball.smoothing.core import Smoothed
    from epsball.smoothing.noise import noises
    from epsball.smoothing.procedures import procedures
    from epsball.verification.survey import shard as take

    chosen = options(procedures[procedure], settings or [], "procedure")
    i, n = shard(part)
    case = target.case(setup, lambda all_: take(all_, i - 1, n))
    scale = next(iter(fields(cast("Any", noises[noise])))).name
    law = build(noises[noise], {scale: number(sigma, "--sigma")}, "noise")
    module = case.network.module if denoiser is None else put_before(denoiser, case.network)
    smoothed = Smoothed(module, law, case.network.classes, batch=batch, seed=setup.seed, clip=case.data.clip)
    goal = None if radius is None else number(radius, "--radius")
    name = f"certify-{target.data}-{noise}-{sigma}" + ("" if denoiser is None else "-denoised") + (f"-{part}" if part else "")
    path = out or folder_of(target.model) / name.replace("/", "_")
    machines = None if cluster is None else Cluster(cluster, gpus=float(case.device.type == "cuda"))
    with output.progress("certifying") as told:
        task = Certification(case, smoothed, chosen, number(alpha, "--alpha"), selection, goal, machines, told, denoiser)
        summary = task.run(path, resume=resume)
    output.result("certify", {"run": str(path), **summary})
    _show(output, path, summary)


def _show(output: Output, path: Path, summary: dict[str, Any]) -> None:
    rows = [
        (f"{point['radius']:g}", f"{100 * point['accuracy']:.1f} %", f"{100 * point['low']:.1f} to {100 * point['high']:.1f}")
        for point in summary["curve"]
    ]
    title = f"{path}  {summary['noise']}, {summary['count']} images"
    output.table(title, ("radius", "certified accuracy", "95 % interval"), rows)
    radius = summary["average_radius"]
    each = summary["samples"] / summary["count"]
    output.text(
        f"{each:,.0f} samples an image, {summary['seconds']:.1f} s; each certificate is wrong with probability at most "
        f"{summary['alpha']:g}.  Average certified radius {radius['value']:.3f} +- {radius['error']:.3f}."
    )
