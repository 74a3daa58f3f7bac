"""`epsball certify`: randomized smoothing, with a stated probability of error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from epsball.cli.common import Anyway, Output, Part, Resume, number
from epsball.cli.spread import defaults
from epsball.cli.target import Opening, TargetExamples, folder_of, run_named, slice_named
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.record.lines import SummaryLine
    from epsball.run.case import Case
    from epsball.run.certifiers import Certifier
    from epsball.smoothing.sampling.sampler import Function

T = TypeVar("T")
_OF_NOISE = "noise."
_BATCH, _ALPHA, _SELECTION = 256, "0.001", 100


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
        str | None, typer.Option("--alpha", help=f"Probability of a wrong certificate, for each image; default: {_ALPHA}.")
    ] = None
    selection: Annotated[int | None, typer.Option("--selection", help=f"Samples that choose the class; default: {_SELECTION}.")] = (
        None
    )
    batch: Annotated[int | None, typer.Option("--batch", help="Samples of one forward pass.")] = None

    def certifier(self, module: Function, case: Case, seed: int) -> Certifier:
        """What certifies the inputs of a case.

        Raises:
            BadConfig: an unknown noise or procedure, an option that it does not have, or one of sampling beside an exact noise.
        """
        from epsball.run.certifiers import Counting, Sampling
        from epsball.smoothing.core import Smoothed
        from epsball.smoothing.noises.continuous import noises
        from epsball.smoothing.noises.exact import enumerations
        from epsball.smoothing.statistics.procedures import procedures
        from epsball.values import options

        own = [text.removeprefix(_OF_NOISE) for text in self.settings or [] if text.startswith(_OF_NOISE)]
        rest = [text for text in self.settings or [] if not text.startswith(_OF_NOISE)]
        if self.noise in enumerations:
            self._nothing_sampled(rest)
            law = _law(enumerations[self.noise], self.sigma, own)
            return Counting(module, law, case.network.classes, self.batch or _BATCH)
        chosen = options(procedures[self.procedure or "sequential"], rest, "procedure")
        noise = _law(noises[self.noise], self.sigma, own)
        smoothed = Smoothed(module, noise, case.network.classes, batch=self.batch, seed=seed, clip=case.data.clip)
        goal = None if self.radius is None else number(self.radius, "--radius")
        selection = _SELECTION if self.selection is None else self.selection
        return Sampling(smoothed, chosen, number(self.alpha or _ALPHA, "--alpha"), selection, goal)

    def _nothing_sampled(self, rest: list[str]) -> None:
        sampled = {"radius": self.radius, "procedure": self.procedure, "alpha": self.alpha, "selection": self.selection}
        for name, value in {**sampled, "set": rest or None}.items():
            if value is not None:
                raise BadConfig(
                    f"{self.noise} noise is counted without chance: nothing is sampled",
                    where=f"--{name}",
                    fix="leave it out; --set noise.KEY=VALUE sets an option of the noise",
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


def _law(kind: type[T], sigma: str, settings: list[str]) -> T:
    """The noise of that kind, of this scale."""
    from epsball.smoothing.draws import scale_of
    from epsball.values import options

    return options(kind, [f"{scale_of(kind)}={number(sigma, '--sigma')!r}", *settings], "noise")


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
