"""`epsball certify`: randomized smoothing, with a stated probability of error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Anyway, Output, Part, Resume, number
from epsball.cli.spread import defaults
from epsball.cli.target import Opening, TargetExamples, folder_of, run_named, slice_named

if TYPE_CHECKING:
    from epsball.record.lines import SummaryLine
    from epsball.run.case import Case
    from epsball.run.certifiers import Certifier
    from epsball.smoothing.sampling.sampler import Function


@dataclass(frozen=True)
class Smoothing:
    """The noise, and how its certificates are found. None stands for the default, so that it is known what was given."""

    sigma: Annotated[str, typer.Option("--sigma", help="Scale of the noise, in units of the inputs.")] = "0.25"
    noise: Annotated[
        str, typer.Option("--noise", help="See `epsball list noises`, and `epsball list exact-noises` for those without chance.")
    ] = "gaussian"
    radius: Annotated[str | None, typer.Option("--radius", help="Certify at this radius; default: the largest one.")] = None
    procedure: Annotated[str | None, typer.Option("--procedure", help="See `epsball list procedures`; default: sequential.")] = None
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="option=value of the procedure, such as cap=10000; noise.KEY=value: of the noise."),
    ] = None
    alpha: Annotated[
        str | None, typer.Option("--alpha", help="Probability of a wrong certificate, for each image; default: 0.001.")
    ] = None
    selection: Annotated[int | None, typer.Option("--selection", help="Samples that choose the class; default: 100.")] = None
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of one forward pass.")] = None

    def certifier(self, module: Function, case: Case, seed: int) -> Certifier:
        """What certifies the inputs of a case.

        Raises:
            BadConfig: an unknown noise or procedure, an option that it does not have, or one of sampling beside an exact noise.
        """
        from epsball.run.certifiers import certifier

        return certifier(
            module,
            case,
            number(self.sigma, "--sigma"),
            self.noise,
            radius=None if self.radius is None else number(self.radius, "--radius"),
            procedure=self.procedure,
            alpha=None if self.alpha is None else number(self.alpha, "--alpha"),
            selection=self.selection,
            batch=self.batch,
            settings=self.settings or (),
            seed=seed,
        )


def certify(  # noqa: PLR0913 - one parameter an option
    target: Annotated[TargetExamples, defaults(index="::100")],
    *,
    smoothing: Smoothing,
    denoiser: Annotated[
        Path | None, typer.Option("--denoiser", help="A run of `epsball train denoise`, to put in front of the network.")
    ] = None,
    part: Part = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Ray cluster: its address, auto, or local.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default: MODEL/certify-DATA-NOISE-SIGMA-SLICE-PROCEDURE.")
    ] = None,
    resume: Resume = False,
    anyway: Anyway = False,
    setup: Opening,
    output: Output,
) -> None:
    """Certify the smoothed classifier on test examples: class and radius, or an abstention."""
    from epsball.run.certify import Certification
    from epsball.run.cluster import Cluster
    from epsball.run.denoise import put_before

    case = target.case(setup, part)
    module = case.network.module if denoiser is None else put_before(denoiser, case.network)
    certifier = smoothing.certifier(module, case, setup.seed)
    noise, front = (smoothing.noise, smoothing.sigma), None if denoiser is None else "denoised"
    name = run_named("certify", target.data, *noise, front, slice_named(target.index), smoothing.procedure, part)
    path = out or folder_of(target.model) / name
    machines = None if cluster is None else Cluster(cluster, gpus=float(case.device.type == "cuda"))
    with output.progress("certifying") as told:
        summary = Certification(case, certifier, machines, told, denoiser).run(path, resume=resume, anyway=anyway)
    output.result("certify", {"run": str(path), **summary.written()})
    _show(output, path, summary)


def _show(output: Output, path: Path, summary: SummaryLine) -> None:
    rows = [
        (f"{point.radius:g}", f"{100 * point.accuracy:.1f} %", f"{100 * point.low:.1f} to {100 * point.high:.1f}")
        for point in summary.curve
    ]
    title = f"{path}  {summary.noise}, {summary.count} images"
    output.table(title, ("radius", "certified accuracy", "95 % interval"), rows)
    radius = summary.average_radius
    each, alpha = (summary.samples or 0) / (summary.count or 1), summary.alpha
    chance = f"each certificate is wrong with probability at most {alpha:g}" if alpha else "no chance is involved"
    output.text(
        f"{each:,.0f} samples an image, {summary.seconds:.1f} s; {chance}.  "
        f"Average certified radius {radius['value']:.3f} +- {radius['error']:.3f}."
    )
