"""The section of the funnel: how many inputs each step of the ladder settled."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import Status, StepTally
from epsball.reporting.commands import VERIFY
from epsball.reporting.csv import Cell, Sheet
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.reporting.runs import Run, Story

_ANSWERS: tuple[Status, ...] = ("verified", "misclassified", "falsified")


@sections.register("funnel")
@dataclass(frozen=True)
class FunnelSection(Section):
    """The ladder of every verification, step by step."""

    title: str = "The funnel of the ladder"
    short: str = "Funnel"
    place: int = 300
    missing: str = "No funnel of a ladder in these runs."
    command: str = VERIFY

    def content(self, story: Story) -> Content:
        return given(funnels=funnels(story))


@dataclass(frozen=True)
class FunnelStep:
    """One step of the ladder: how many inputs came in, and how many left with an answer."""

    name: str
    entered: int
    verified: int
    misclassified: int
    falsified: int
    seconds: float | None

    @property
    def left(self) -> int:
        """Inputs handed on to the next step."""
        return self.entered - self.verified - self.misclassified - self.falsified


@dataclass(frozen=True)
class Funnel:
    """How a run came to its verdicts.

    Attributes:
        count: inputs.
        steps: in the ladder's order.
        status: how many ended in which status.
        counted: whether the steps were counted from single inputs, because the run has no summary.
    """

    run: Run
    count: int
    steps: tuple[FunnelStep, ...]
    status: Mapping[Status, int]
    counted: bool

    @property
    def sheet(self) -> Sheet:
        rows: list[tuple[Cell, ...]] = [
            (s.name, s.entered, s.verified, s.misclassified, s.falsified, s.left, s.seconds) for s in self.steps
        ]
        rows += [(status, self.status.get(status, 0), *(None,) * 5) for status in ("unknown", "timeout", "error")]
        columns = ("step", "entered", "verified", "misclassified", "falsified", "left", "seconds")
        return Sheet(f"funnel-{self.run.id}.csv", columns, tuple(rows))


def funnels(story: Story) -> list[Funnel]:
    """The ladder of every verification; a run cut short is counted from its single inputs."""
    found = []
    for run in story.judged:
        instances, summary = run.instances, run.summary
        status: Mapping[Status, int] = Counter(line.status for line in instances)
        count, steps, counted = len(instances), _counted_steps(run), True
        if summary is not None and summary.steps:
            status = summary.status or status
            count, steps, counted = summary.count or sum(status.values()), summary.steps, False
        found.append(Funnel(run, count, tuple(_flow(count, steps)), status, counted))
    return [funnel for funnel in found if funnel.count]


def _flow(count: int, steps: list[StepTally]) -> list[FunnelStep]:
    flow, left = [], count
    for step in steps:
        flow.append(FunnelStep(step.name, left, step.verified, step.misclassified, step.falsified, step.seconds))
        left = flow[-1].left
    return flow


def _counted_steps(run: Run) -> list[StepTally]:
    answered = [line for line in run.instances if line.status in _ANSWERS]
    steps = []
    for name in dict.fromkeys(line.by for line in answered):
        mine = [line for line in answered if line.by == name]
        seconds = sum(line.seconds or 0.0 for line in mine)
        counts = {status: sum(line.status == status for line in mine) for status in _ANSWERS}
        steps.append(StepTally(name=name, settled=len(mine), seconds=seconds, **counts))
    return steps
