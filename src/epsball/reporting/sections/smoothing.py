"""The section of randomized smoothing: certified accuracy against radius, sure and unsure votes, the worst case of the proof."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from epsball.record.lines import CertificateLine, RegionsLine
from epsball.reporting.certified_curves import Curve, certified_figure
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, ALARM, INK, MUTED, SOFT, draw
from epsball.reporting.figures import WIDE, Figure
from epsball.reporting.section import Content, Section, given, sections
from epsball.reporting.sections.regions import region_figures
from epsball.smoothing.log import Row, abstentions, average_radius, curve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from epsball.reporting.runs import Run, Story

_GAUSSIAN = re.compile(r"Gaussian\(sigma=([\d.e-]+)\)")
_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)


@sections.register("smoothing")
@dataclass(frozen=True)
class SmoothingSection(Section):
    """Certificates of randomized smoothing, and the regions around single inputs."""

    title: str = "Randomized smoothing"
    short: str = "Smoothing"
    place: int = 1100
    missing: str = "No smoothing in these runs."
    command: str = "epsball certify {model} --data {data} --sigma 0.25"

    def content(self, story: Story) -> Content:
        return given(smoothing=smoothing_page(story), regions=[(run, region_figures(run)) for run in story.having(RegionsLine)])


@dataclass(frozen=True)
class SmoothedRow:
    """One run in the table: everything in shares but the counts and the average radius, which stands last.

    Attributes:
        accuracy: of the smoothed classifier, abstentions being wrong.
        samples: noisy copies an image, mean.
        radius: average certified radius, wrong images counting 0.
        error: its standard error over the images.
    """

    run: Run
    noise: str
    images: int
    accuracy: float
    abstained: float
    samples: float
    alpha: float | None
    radius: float
    error: float


@dataclass(frozen=True)
class SmoothingPage:
    """All runs in one figure and one table; then the figures of each run."""

    rows: tuple[SmoothedRow, ...]
    curves: Figure
    sheet: Sheet
    each: tuple[tuple[Run, tuple[Figure, ...]], ...]


def smoothing_page(story: Story) -> SmoothingPage | None:
    """The page, or None where no run certified by smoothing."""
    runs = story.having(CertificateLine)
    if not runs:
        return None
    each = tuple((run, tuple(f for f in (_votes(run), _worst_case(run)) if f is not None)) for run in runs)
    rows = tuple(_row(run) for run in runs)
    columns = ("run", "noise", "inputs", "accuracy", "abstained", "samples", "alpha", "average_certified_radius", "standard_error")
    cells = tuple((r.run.name, r.noise, r.images, r.accuracy, r.abstained, r.samples, r.alpha, r.radius, r.error) for r in rows)
    return SmoothingPage(rows, _curves(runs), Sheet("smoothing.csv", columns, cells), each)


def _rows(run: Run) -> list[Row]:
    latest = {line.index: line for line in run.of(CertificateLine)}
    return [Row.of(line.index, line.label, line.predicted, line.radius, line.seconds or 0.0) for line in latest.values()]


def _noise(run: Run) -> str:
    return (run.summary.noise or "") if run.summary else ""


def _row(run: Run) -> SmoothedRow:
    rows, lines, summary = _rows(run), run.of(CertificateLine), run.summary
    radius, error = average_radius(rows)
    samples = sum(line.samples for line in lines) / len(lines)
    alpha = summary.alpha if summary else None
    return SmoothedRow(
        run, _noise(run), len(rows), curve(rows, [0.0])[0].accuracy, abstentions(rows), samples, alpha, radius, error
    )


def _curves(runs: Sequence[Run]) -> Figure:
    """Certified accuracy against radius, one curve a run."""
    caption = (
        "Share of all inputs that are classified rightly with at least this certified radius. The bands are 95 % limits over the "
        "choice of inputs; that each single radius holds is the smaller, stated probability of the table."
    )
    curves = [Curve(run.name, f"{run.name} {_noise(run)}".strip(), _rows(run)) for run in runs]
    return certified_figure("certified", curves, runs[0].of(CertificateLine)[0].norm, "run", caption)


def _votes(run: Run) -> Figure:
    """The distribution of p_A: what share of noisy copies got the top class, at least."""
    lower = np.array([line.lower for line in run.of(CertificateLine)])
    least = 0.4
    logit = _logit(np.clip(lower, least, 1 - 1e-6))
    edges = np.linspace(_logit(np.array(least)), max(float(logit.max()), float(_logit(np.array(0.99)))) + 1e-9, 33)
    counts = np.histogram(logit, edges)[0]

    def paint(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=ACCENT)
        axes.axvline(0, color=INK, linewidth=1)
        shown = [p for p in _TICKS if _logit(np.array(p)) <= edges[-1]]
        axes.set_xticks([float(_logit(np.array(p))) for p in shown], [f"{p:g}" for p in shown])
        axes.set_xlabel("proven probability of the top class, p_A")
        axes.set_ylabel("inputs")
        axes.locator_params(axis="y", integer=True)

    share = 1 / (1 + np.exp(-edges))
    rows = tuple((float(share[i]), float(share[i + 1]), int(n)) for i, n in enumerate(counts))
    alt = f"Distribution of p_A over {len(lower)} inputs; {int((lower > 0.5).sum())} lie above one half."
    return Figure(
        f"figure-votes-{run.id}", "How sure the votes are", n_of(len(lower), "input"),
        (draw(paint, alt=alt, ident=f"votes-{run.id}", size=WIDE),),
        Sheet(f"votes-{run.id}.csv", ("from", "to", "inputs"), rows),
        "Lower confidence bounds of the share of noisy copies that get the top class, on a scale that spreads both ends. Above one "
        "half something is certified; the first bin also holds what lies below it.",
    )  # fmt: skip


def _logit(p: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(p) - np.log1p(-p))


def _worst_case(run: Run) -> Figure | None:
    """The half-space of the proof, drawn for the run's median certified input. Gaussian noise only.

    Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918, Theorem 1: of all classifiers that give the top class p_A of the noise around
    x, a half-space at sigma Phi^-1(p_A) from x loses it soonest.
    """
    known = _GAUSSIAN.fullmatch(_noise(run))
    certified = sorted(
        (line for line in run.of(CertificateLine) if line.radius > 0 and 0.5 < line.lower < 1), key=lambda c: c.radius
    )
    if not known or not certified:
        return None
    sigma, line = float(known[1]), certified[len(certified) // 2]
    reach = sigma * float(ndtri(line.lower))
    alt = f"A half-space at distance {reach:.3g} from input {line.index}; the noise around the input and a point on its edge."
    rows = ((line.index, sigma, line.lower, reach),)
    return Figure(
        f"figure-worst-{run.id}", "The worst case of the proof", n_of(1, "input"),
        (draw(_half_space(sigma, reach), alt=alt, ident=f"worst-{run.id}", size=(4.6, 2.5)),),
        Sheet(f"worst-case-{run.id}.csv", ("input", "sigma", "p_A", "distance"), rows),
        f"Input {line.index}, the median one: of all classifiers that give the top class at least p_A = {line.lower:.4f} "
        "of the noise around x, none loses it nearer than this half-space, at sigma Φ⁻¹(p_A) from x. There exactly one half of the "
        "noise is left. The circles are 1 and 2 sigma.",
    )  # fmt: skip


def _half_space(sigma: float, reach: float) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        from matplotlib.patches import Circle

        side = reach + 2.6 * sigma
        axes.axvspan(-2.6 * sigma, reach, color=SOFT, linewidth=0)
        axes.axvline(reach, color=INK, linewidth=1.2)
        for centre, colour in ((0.0, ACCENT), (reach, ALARM)):
            for radius in (sigma, 2 * sigma):
                axes.add_patch(Circle((centre, 0), radius, fill=False, color=colour, linewidth=1))
            axes.plot([centre], [0], "o", color=colour, markersize=4)
        arrow = {"arrowstyle": "<->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (reach, -2.3 * sigma), (0, -2.3 * sigma), arrowprops=arrow)
        axes.text(reach / 2, -2.45 * sigma, f"{reach:.3g}", ha="center", va="top", color=MUTED)
        axes.set_xlim(-2.6 * sigma, side)
        axes.set_ylim(-3.1 * sigma, 2.4 * sigma)
        axes.set_aspect("equal")
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=6)
        axes.grid(visible=False)
        axes.set_xlabel("distance from x along the worst direction")
        axes.set_ylabel("across it")

    return paint
