"""The numbers of a report: the headline inequality, accuracies by method, the funnel, and what looks wrong in the records."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import STATUSES, EpochLine, HeaderLine, Rate, Status, StepTally
from epsball.reporting.csv import Cell, Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.record.lines import SummaryLine
    from epsball.reporting.runs import Run, Story

_ANSWERS: tuple[Status, ...] = ("verified", "misclassified", "falsified")


@dataclass(frozen=True)
class Headline:
    """`verified <= true robust <= attacked` for one run.

    Attributes:
        run: where the numbers come from.
        verified: share proven robust: from below.
        attacked: share that no attack has broken: from above.
        clean: share classified correctly without any perturbation.
        attacked_by: the run whose attack gave the upper side.
    """

    run: Run
    verified: Rate | None
    attacked: Rate | None
    clean: Rate | None
    attacked_by: Run | None

    @property
    def gap(self) -> float | None:
        """The share of inputs that is neither proven nor broken."""
        return None if self.verified is None or self.attacked is None else self.attacked.value - self.verified.value

    @property
    def open(self) -> int | None:
        """How many inputs are neither proven nor broken, where the run says how many there were."""
        count = self.run.summary.count if self.run.summary else None
        return None if self.gap is None or count is None else round(self.gap * count)

    @property
    def broken(self) -> bool:
        """An attack beat a proof."""
        return self.gap is not None and self.gap < 0

    @property
    def parts(self) -> list[tuple[str, str, Rate]]:
        """Name, label and rate of what is known, from below to above."""
        named = (("verified", "Verified", self.verified), ("attacked", "Attacked", self.attacked), ("clean", "Clean", self.clean))
        return [(name, label, rate) for name, label, rate in named if rate is not None]

    @property
    def window(self) -> tuple[float, float]:
        """The part of the axis that holds the three numbers and their limits: whole percents, at least 5 of them."""
        rates = [rate for _, _, rate in self.parts]
        low = max(0, math.floor(100 * min((rate.low for rate in rates), default=0.0)) - 1)
        high = min(100, math.ceil(100 * max((rate.high for rate in rates), default=1.0)) + 1)
        low = max(0, min(low, high - 5))
        return low / 100, max(high, low + 5) / 100

    @property
    def sheet(self) -> Sheet:
        rows = tuple((name, rate.value, rate.low, rate.high) for name, _, rate in self.parts)
        return Sheet("inequality.csv", ("accuracy", "value", "low_95", "high_95"), rows)


def headlines(story: Story) -> list[Headline]:
    """One for each verification, with the strongest attack on the same inputs; then the attacks on what was not verified."""
    found: list[Headline] = []
    used: set[str] = set()
    for run in story.judged:
        if run.summary is None:
            continue
        same = [other for other in story.attacked if other.summary and _key(other.summary) == _key(run.summary)]
        used.update(other.id for other in same)
        sides = [(s.accuracy["attacked"], r) for r in (run, *same) if (s := r.summary) and "attacked" in s.accuracy]
        rate, by = min(sides, key=lambda side: side[0].value, default=(None, None))
        found.append(Headline(run, run.summary.accuracy.get("verified"), rate, run.summary.accuracy.get("clean"), by))
    for run in story.attacked:
        if run.id not in used and run.summary:
            accuracy = run.summary.accuracy
            found.append(Headline(run, None, accuracy.get("attacked"), accuracy.get("clean"), run))
    return found


def _key(summary: SummaryLine) -> tuple[Cell, ...]:
    return summary.model, summary.data, summary.count, summary.eps, summary.norm, summary.noise


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


@dataclass(frozen=True)
class Notice:
    """Something that a reader must know before trusting a number; `grave` for a defect."""

    text: str
    grave: bool = False


def notices(story: Story) -> list[Notice]:
    """Runs that stopped early, inputs without an answer, records that contradict themselves, and a broken inequality."""
    found = [
        Notice(
            f"An attack beat a proof in {h.run.name}: verified accuracy lies above attacked accuracy. This is a defect.", grave=True
        )
        for h in headlines(story)
        if h.broken
    ]
    found += [
        Notice(f"{run.name} was not finished: its numbers cover what was done so far. Run it again with --resume.")
        for whole in story.runs
        for run in whole.records
        if not run.done
    ]
    found += [
        Notice(f"{run.name} is not whole: shard {', '.join(map(str, run.missing))} of {run.shard[1]} is not here.")
        for run in story.runs
        if run.shard and run.missing
    ]
    found += [
        Notice(f"{run.name} was resumed by another version of the code than began it: its numbers are of both.")
        for whole in story.runs
        for run in whole.records
        if any("code" in header.anyway for header in run.of(HeaderLine))
    ]
    for run in story.judged:
        counted: Mapping[Status, int] = Counter(line.status for line in run.instances)
        if counted and run.summary and run.summary.status and _differ(counted, run.summary.status):
            found.append(Notice(f"The summary of {run.name} disagrees with a recount of its inputs.", grave=True))
        if counted.get("error"):
            found.append(Notice(f"{counted['error']:,} inputs of {run.name} ended in an error; they count as no answer."))
    return found


def _differ(one: Mapping[Status, int], other: Mapping[Status, int]) -> bool:
    return any(one.get(status, 0) != other.get(status, 0) for status in STATUSES)


def best_epoch(run: Run) -> EpochLine | None:
    """The epoch that the run selected, or the one of highest accuracy where it selected none."""
    chosen = [line for line in run.of(EpochLine) if line.best]
    return (
        chosen[-1]
        if chosen
        else max(run.of(EpochLine), key=lambda line: (line.verified or line.noisy or 0.0, line.clean or 0.0), default=None)
    )
