"""The section of the inequality: verified <= true robust <= attacked, and verified accuracy against eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.analysis.curves import verified_against_eps
from epsball.reporting.commands import ATTACK, VERIFY, filled
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import ACCENT, GREY, MUTED, draw
from epsball.reporting.figures import WIDE, Figure, look, short
from epsball.reporting.section import Content, Section, given, sections
from epsball.reporting.tables import headlines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from epsball.reporting.runs import Story
    from epsball.reporting.tables import Headline

_COLOURS = {"verified": ACCENT, "attacked": MUTED, "clean": GREY}


@sections.register("inequality")
@dataclass(frozen=True)
class InequalitySection(Section):
    """`verified <= true robust <= attacked`, with limits, for every verification and attack."""

    title: str = "Verified ≤ true ≤ attacked"
    short: str = "Inequality"
    place: int = 100
    missing: str = "No verification in these runs."
    command: str = VERIFY

    def content(self, story: Story) -> Content:
        told = headlines(story)
        found = given(headlines=told, figures=[axis_figure(one) for one in told], eps_figure=eps_figure(story))
        return found and {**found, "verify": filled(VERIFY, story), "attack": filled(ATTACK, story)}


def axis_figure(headline: Headline) -> Figure:
    """The numbers of one run with their limits on one axis: what the page shows in its own way, for an exported file."""

    def paint(axes: Axes) -> None:
        for place, (name, _, rate) in enumerate(headline.parts):
            ends = [100 * rate.low, 100 * rate.high]
            axes.plot(ends, [place, place], color=_COLOURS[name], marker="|", markersize=8)
            axes.plot([100 * rate.value], [place], color=_COLOURS[name], marker="o")
        axes.set_yticks(range(len(headline.parts)), [label for _, label, _ in headline.parts])
        axes.set_ylim(len(headline.parts) - 0.4, -0.6)
        axes.set_xlim(*(100 * end for end in headline.window))
        axes.set_xlabel("share of the inputs")
        axes.set_ylabel("accuracy")
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.grid(visible=False, axis="y")

    ident = f"axis-{headline.run.id}"
    count = headline.run.summary.count if headline.run.summary else None
    alt = "; ".join(f"{label} {100 * rate.value:.2f} percent" for _, label, rate in headline.parts)
    return Figure(
        f"figure-{ident}", "Verified, true and attacked accuracy", n_of(count or 0, "input"),
        (draw(paint, alt=alt, ident=ident, size=(5.2, 1.8)),), headline.sheet, "",
    )  # fmt: skip


def eps_figure(story: Story) -> Figure | None:
    """Verified accuracy against eps, one curve a method; None unless one model was verified at two radii or more."""
    summaries = [run.summary for run in story.judged if run.summary]
    curves, counts = verified_against_eps(summaries), {summary.count or 0 for summary in summaries}
    if not curves:
        return None

    def paint(axes: Axes) -> None:
        for position, ((_, name), points) in enumerate(curves.items()):
            colour, dash, marker = look(name, position)
            at, values = [p.eps for p in points], [100 * p.value for p in points]
            axes.fill_between(
                at, [100 * p.low for p in points], [100 * p.high for p in points], color=colour, alpha=0.12, linewidth=0
            )
            axes.plot(at, values, color=colour, linestyle=dash, marker=marker, label=short(name))
        axes.set_xlabel("eps")
        axes.set_ylabel("verified accuracy")
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.legend()

    rows = tuple((subject, name, p.eps, p.value, p.low, p.high) for (subject, name), points in curves.items() for p in points)
    alt = f"Verified accuracy against eps, {len(curves)} curves."
    return Figure(
        "figure-eps", "Verified accuracy against eps", n_of(counts, "input"),
        (draw(paint, alt=alt, ident="eps", size=WIDE),),
        Sheet("verified-against-eps.csv", ("subject", "method", "eps", "value", "low_95", "high_95"), rows),
        "One curve a method, with 95 % limits.",
    )  # fmt: skip
