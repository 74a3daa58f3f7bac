"""The section of the trade-off: certified against clean accuracy, epoch by epoch, for every training run judged by both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import EpochLine
from epsball.reporting.csv import Sheet, n_of, percent
from epsball.reporting.drawing import ACCENT, ACCENT_2, ACCENT_3, GREY, INK, MUTED, draw
from epsball.reporting.figures import Figure, short
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story

    Path = list[tuple[float, float, float, bool]]  # epoch, clean, verified, and whether the run selected it
_COLOURS = (ACCENT, INK, ACCENT_2, MUTED, ACCENT_3, GREY)


@sections.register("tradeoff")
@dataclass(frozen=True)
class TradeoffSection(Section):
    """What clean accuracy is paid for certified accuracy as training goes on."""

    title: str = "Certified against clean accuracy"
    short: str = "Trade-off"
    place: int = 750
    missing: str = "No training run of two epochs or more that were judged by proofs."
    command: str = "epsball train fast-ibp --data {data}"

    def content(self, story: Story) -> Content:
        return given(figure=tradeoff_figure(story))


def tradeoff_figure(story: Story) -> Figure | None:
    """One path a run, from its first judged epoch to its last; None where no run has two of them."""
    found = [(run, _path(run)) for run in story.having(EpochLine)]
    paths = [(run, path) for run, path in found if len(path) > 1]
    if not paths:
        return None

    def paint(axes: Axes) -> None:
        for position, (run, path) in enumerate(paths):
            colour = _COLOURS[position % len(_COLOURS)]
            clean, verified = ([100 * point[k] for point in path] for k in (1, 2))
            axes.plot(clean, verified, color=colour, marker="o", markersize=2.5, linewidth=1.1, label=short(run.name))
            axes.plot(clean[-1:], verified[-1:], color=colour, marker="s", markersize=6, linestyle="none")
            best = [(100 * c, 100 * v) for _, c, v, selected in path if selected][-1:]
            axes.plot(*zip(*best, strict=True), color=colour, marker="*", markersize=10, linestyle="none") if best else None
        axes.set_xlabel("clean accuracy")
        axes.set_ylabel("certified accuracy")
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    ends = [f"{run.name} ends at {percent(path[-1][1])} clean and {percent(path[-1][2])} certified" for run, path in paths]
    rows: tuple[tuple[Cell, ...], ...] = tuple((run.name, *point) for run, path in paths for point in path)
    return Figure(
        "figure-tradeoff", "Certified against clean accuracy over epochs", n_of([len(path) for _, path in paths], "epoch"),
        (draw(paint, alt=f"In percent: {'; '.join(ends)}.", ident="tradeoff", size=(5.2, 3.4)),),
        Sheet("tradeoff.csv", ("run", "epoch", "clean", "certified", "selected"), rows),
        "A point an epoch, on the split that the run was judged by: the square is the last, the star the one that was selected.",
    )  # fmt: skip


def _path(run: Run) -> Path:
    """The last line of each epoch that has both accuracies."""
    lines = {line.epoch: line for line in run.of(EpochLine)}
    chosen = [line.epoch for line in run.of(EpochLine) if line.best][-1:]
    return [
        (e, s.clean, s.verified, e in chosen) for e, s in sorted(lines.items()) if s.clean is not None and s.verified is not None
    ]
