"""The section of attacks on smoothed classifiers: how many inputs still stand at which distance."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.proportion import lower_bound, upper_bound
from epsball.record.lines import SmoothAttackLine
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, draw
from epsball.reporting.figures import Figure, short
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

    Point = tuple[float, float, float, float]  # distance, share that stands, and its 95 % limits
_LOOKS = ((ACCENT, "-"), (ACCENT_2, "--"), (INK, ":"), (ACCENT_3, "-"), (GREY, "-."), (MUTED, "--"))


@sections.register("smooth-attack")
@dataclass(frozen=True)
class SmoothAttackSection(Section):
    """Attacks on smoothed classifiers: the upper side of what they certify."""

    title: str = "Attacks on smoothed classifiers"
    short: str = "Smooth attacks"
    place: int = 1150
    missing: str = "No attack on a smoothed classifier in these runs."
    command: str = "epsball attack {model} --data {data} --eps 0.5 --norm l2 --sigma 0.25"

    def content(self, story: Story) -> Content:
        runs = [SmoothAttackRow.of(run) for run in story.having(SmoothAttackLine)]
        return given(runs=runs, figure=standing_figure(runs) if runs else None, sheet=_sheet(runs) if runs else None)


@dataclass(frozen=True)
class SmoothAttackRow:
    """One run in the table.

    Attributes:
        lines: one an input, ordered by index.
        noise: of the smoothing.
        abstained: inputs on which the smoothed classifier abstained before any attack.
        attacked: inputs that it had right, which were attacked.
        broken: of them, how many got another class.
        silenced: of them, on how many it abstained.
        distance: of the changes that broke an input, median; None where none did.
    """

    run: Run
    lines: tuple[SmoothAttackLine, ...]
    noise: str
    abstained: int
    attacked: int
    broken: int
    silenced: int
    distance: float | None

    @classmethod
    def of(cls, run: Run) -> SmoothAttackRow:
        """The row of one run."""
        lines = sorted({line.index: line for line in run.of(SmoothAttackLine)}.values(), key=lambda line: line.index)
        tried = [line for line in lines if line.attacked]
        won = [line for line in tried if line.success]
        distances = [line.distance for line in won if line.distance is not None]
        return cls(
            run,
            tuple(lines),
            (run.summary.noise or "") if run.summary else "",
            sum(line.predicted is None for line in lines),
            len(tried),
            len(won),
            sum(line.adversarial is None for line in tried),
            statistics.median(distances) if distances else None,
        )

    @property
    def points(self) -> list[Point]:
        """The share of all inputs that stand, before any change and after each distance at which one more is broken.

        An input that was broken at a distance the record does not say counts as broken from the start.
        """
        broken = sorted(line.distance or 0.0 for line in self.lines if line.attacked and line.success)
        held = {0.0: self.attacked} | {at: self.attacked - sum(d <= at for d in broken) for at in broken}
        count = len(self.lines)
        return [(at, n / count, lower_bound(n, count, 0.025), upper_bound(n, count, 0.025)) for at, n in held.items()]

    @property
    def sheet(self) -> Sheet:
        """Every input of the run."""
        columns = ("input", "label", "predicted", "attacked", "adversarial", "success", "distance", "seconds")
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (a.index, a.label, a.predicted, a.attacked, a.adversarial, a.success, a.distance, a.seconds) for a in self.lines
        )
        return Sheet(f"smooth-attack-{self.run.id}.csv", columns, rows)


def _sheet(runs: list[SmoothAttackRow]) -> Sheet:
    columns = ("run", "noise", "inputs", "abstained", "attacked", "broken", "abstained_under_attack", "median_distance")
    rows = tuple((r.run.name, r.noise, len(r.lines), r.abstained, r.attacked, r.broken, r.silenced, r.distance) for r in runs)
    return Sheet("smooth-attacks.csv", columns, rows)


def standing_figure(runs: list[SmoothAttackRow]) -> Figure:
    """The share of inputs that stand against distance, one curve a run, each as far as its attack went."""

    def paint(axes: Axes) -> None:
        for position, row in enumerate(runs):
            colour, dash = _LOOKS[position % len(_LOOKS)]
            found = row.points
            summary = row.run.summary
            end = max(found[-1][0], (summary.eps or 0.0) if summary else 0.0)
            at = [point[0] for point in found] + [end]
            share, low, high = ([100 * point[k] for point in (*found, found[-1])] for k in (1, 2, 3))
            axes.fill_between(at, low, high, step="post", color=colour, alpha=0.14, linewidth=0)
            axes.step(at, share, where="post", color=colour, linestyle=dash, label=short(f"{row.run.name} {row.noise}".strip(), 40))
        axes.set_xlabel("distance (l2)")
        axes.set_ylabel("inputs that stand")
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    rows: tuple[tuple[Cell, ...], ...] = tuple((row.run.name, *point) for row in runs for point in row.points)
    told = "; ".join(f"{row.broken} of {row.attacked} broken" for row in runs)
    return Figure(
        "figure-standing", "Inputs that stand, against distance", n_of([len(row.lines) for row in runs], "input"),
        (draw(paint, alt=f"Share of inputs that stand, by distance: {told}.", ident="standing", size=(5.2, 3.0)),),
        Sheet("standing.csv", ("run", "distance", "share", "low_95", "high_95"), rows),
        "Share of all inputs that the smoothed classifier has right and that no change of at most this length was found to break: "
        "an upper side of its certified accuracy, with 95 % limits over the choice of inputs. An abstention is no success.",
    )  # fmt: skip
