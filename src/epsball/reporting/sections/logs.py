"""The section of logs: certified accuracy against radius from the tab-separated files that the field exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.reporting.certified_curves import Curve, certified_figure
from epsball.reporting.csv import Sheet
from epsball.reporting.section import Content, Section, given, sections
from epsball.smoothing.log import abstentions, average_radius, curve

if TYPE_CHECKING:
    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import SmoothingLog, Story

_COLUMNS = ("log", "images", "accuracy", "low_95", "high_95", "abstained", "average_certified_radius", "standard_error")


@sections.register("logs")
@dataclass(frozen=True)
class LogsSection(Section):
    """Logs of smoothing that were given as files."""

    title: str = "Logs of randomized smoothing"
    short: str = "Logs"
    place: int = 1110
    missing: str = "No log of smoothing was given; a run of certify writes one."
    command: str = "epsball certify {model} --data {data} --sigma 0.25"

    def content(self, story: Story) -> Content:
        if not story.logs:
            return {}
        curves = [Curve(log.name, log.name, log.rows) for log in story.logs]
        caption = (
            "Share of all images that are predicted rightly with at least this radius, as the logs tell it: a log that rounds its "
            "radii may round them up. The bands are 95 % limits over the choice of images."
        )
        return given(
            figure=certified_figure("logs", curves, "", "log", caption),
            sheet=Sheet("logs.csv", _COLUMNS, tuple(_row(log) for log in story.logs)),
        )


def _row(log: SmoothingLog) -> tuple[Cell, ...]:
    start = curve(log.rows, [0.0])[0]
    return log.name, len(log.rows), start.accuracy, start.low, start.high, abstentions(log.rows), *average_radius(log.rows)
