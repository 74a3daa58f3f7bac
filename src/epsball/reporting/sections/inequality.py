"""The section of the inequality: verified <= true robust <= attacked, and verified accuracy against eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.analysis.curves import verified_against_eps
from epsball.reporting.commands import ATTACK, VERIFY, filled
from epsball.reporting.csv import Sheet
from epsball.reporting.drawing import draw
from epsball.reporting.figures import WIDE, Figure, look, short
from epsball.reporting.section import Content, Section, given, sections
from epsball.reporting.tables import headlines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from epsball.reporting.runs import Story


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
        found = given(headlines=headlines(story), eps_figure=eps_figure(story))
        return found and {**found, "verify": filled(VERIFY, story), "attack": filled(ATTACK, story)}


def eps_figure(story: Story) -> Figure | None:
    """Verified accuracy against eps, one curve a method; None unless one model was verified at two radii or more."""
    curves = verified_against_eps([run.summary for run in story.judged if run.summary])
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
        "figure-eps", "Verified accuracy against eps", (draw(paint, alt=alt, ident="eps", size=WIDE),),
        Sheet("verified-against-eps.csv", ("subject", "method", "eps", "value", "low_95", "high_95"), rows),
        "One curve a method, with 95 % limits.",
    )  # fmt: skip
