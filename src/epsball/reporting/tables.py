"""What several parts of a page tell: the headline inequality, and what looks wrong in the records."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.record.lines import STATUSES, HeaderLine, Rate, Status
from epsball.reporting.csv import Cell, Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.record.lines import SummaryLine
    from epsball.reporting.runs import Run, Story


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
        same = [o for o in story.attacked if o.summary and _key(o.summary) == _key(run.summary) and _alike(o, run)]
        used.update(other.id for other in same)
        sides = [(s.accuracy["attacked"], r) for r in (run, *same) if (s := r.summary) and "attacked" in s.accuracy]
        rate, by = min(sides, key=lambda side: side[0].value, default=(None, None))
        found.append(Headline(run, run.summary.accuracy.get("verified"), rate, run.summary.accuracy.get("clean"), by))
    for run in story.attacked:
        if run.id not in used and run.summary:
            accuracy = run.summary.accuracy
            found.append(Headline(run, None, accuracy.get("attacked"), accuracy.get("clean"), run))
    return found


def _alike(one: Run, other: Run) -> bool:
    """Whether two runs are of the same weights, the same threat and the same inputs, as far as their records tell."""
    if any(one.header.identity.get(part) != other.header.identity.get(part) for part in ("weights", "property")):
        return False
    if one.instances and other.instances:
        return [line.index for line in one.instances] == [line.index for line in other.instances]
    return bool(one.parts or other.parts) or one.header.identity.get("data") == other.header.identity.get("data")


def _key(summary: SummaryLine) -> tuple[Cell, ...]:
    return summary.model, summary.data, summary.count, summary.eps, summary.norm, summary.noise


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
