"""The section of accuracies: every one that a run found, by method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.reporting.commands import ATTACK
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from epsball.record.lines import Rate, SummaryLine
    from epsball.reporting.runs import Run, Story


@sections.register("accuracy")
@dataclass(frozen=True)
class AccuracySection(Section):
    """A table of accuracies for every verification and attack."""

    title: str = "Accuracy by method"
    short: str = "Accuracy"
    place: int = 200
    missing: str = "No accuracy was measured in these runs."
    command: str = ATTACK

    def content(self, story: Story) -> Content:
        return given(accuracies=accuracies(story))


@dataclass(frozen=True)
class AccuracyRow:
    """One row of the table of accuracies: `side` says whether the true robust accuracy lies above or below."""

    name: str
    side: str
    rate: Rate
    seconds: float | None
    strong: bool = False


@dataclass(frozen=True)
class Accuracies:
    """Every accuracy that a run found."""

    run: Run
    rows: tuple[AccuracyRow, ...]

    @property
    def n(self) -> str:
        return n_of((self.run.summary.count if self.run.summary else None) or 0, "input")

    @property
    def sheet(self) -> Sheet:
        rows = tuple((r.name, r.side, r.rate.value, r.rate.low, r.rate.high, r.seconds) for r in self.rows)
        return Sheet(f"accuracy-{self.run.id}.csv", ("method", "side", "value", "low_95", "high_95", "seconds"), rows)


def accuracies(story: Story) -> list[Accuracies]:
    """The accuracies of every verification and attack."""
    found = [Accuracies(run, tuple(_accuracy_rows(run.summary))) for run in (*story.judged, *story.attacked) if run.summary]
    return [table for table in found if table.rows]


def _accuracy_rows(summary: SummaryLine) -> list[AccuracyRow]:
    seconds = {step.name: step.seconds for step in summary.steps}
    accuracy = summary.accuracy
    rows = []
    if "clean" in accuracy:
        rows.append(AccuracyRow("clean", "no perturbation", accuracy["clean"], seconds.get("clean")))
    if "attacked" in accuracy:
        spent = summary.seconds if summary.verb == "attack" else seconds.get("attack")
        rows.append(AccuracyRow("attacked", "upper side", accuracy["attacked"], spent))
    rows += [AccuracyRow(name, "lower side", rate, seconds.get(name)) for name, rate in summary.verified_by.items()]
    if "verified" in accuracy:
        rows.append(AccuracyRow("verified, all methods", "lower side", accuracy["verified"], summary.seconds, strong=True))
    known = {"clean", "attacked", "verified"}
    return rows + [AccuracyRow(name, "", rate, None) for name, rate in accuracy.items() if name not in known]
