"""The results table of training runs: every accuracy with the examples, the verifier and the protocol behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.reporting.csv import Sheet

if TYPE_CHECKING:
    from epsball.record.lines import AccuracyPart, Rate, SummaryLine
    from epsball.reporting.csv import Cell
    from epsball.reporting.runs import Run, Story


@dataclass(frozen=True)
class ModelResult:
    """One trained model (or the mean over several seeds) on one part of the data.

    Attributes:
        run: where it comes from.
        name: of the part: "train", "validation" or "test".
        part: the numbers.
        selected: whether the epoch was selected on this part, which makes its numbers too high.
        protocol: how the epoch was selected.
        eps: radius of the verification.
    """

    run: Run
    name: str
    part: AccuracyPart
    selected: bool
    protocol: str
    eps: float | None

    @property
    def averaged(self) -> bool:
        """Whether the numbers are means over seeds."""
        return self.part.clean.std is not None


@dataclass(frozen=True)
class Results:
    """The table, and the same as a sheet."""

    rows: tuple[ModelResult, ...]

    @property
    def noisy(self) -> bool:
        """Whether any model was judged under the noise of smoothing."""
        return any(row.part.noisy for row in self.rows)

    @property
    def sheet(self) -> Sheet:
        about = ("run", "part", "examples", "of", "verifier", "eps", "protocol", "selected_on")
        columns = (*about, *_named("clean"), *_named("verified"), *(_named("noisy") if self.noisy else ()))
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (r.run.name, r.name, r.part.count, r.part.of, r.part.verifier, r.eps, r.protocol, "yes" if r.selected else "no",
             *_cells(r.part.clean), *_cells(r.part.verified), *(_cells(r.part.noisy) if self.noisy else ()))
            for r in self.rows
        )  # fmt: skip
        return Sheet("training-results.csv", columns, rows)


def results(story: Story) -> Results | None:
    """What training runs came to; None where no run has come to an end."""
    rows = [row for run in story.runs if run.summary for row in _rows(run, run.summary)]
    return Results(tuple(rows)) if rows else None


def _rows(run: Run, summary: SummaryLine) -> list[ModelResult]:
    found = (summary.protocol, summary.eps)
    return [ModelResult(run, name, part, name == summary.split, *found) for name, part in summary.splits.items()]


def _named(measure: str) -> tuple[str, ...]:
    return measure, f"{measure}_std", f"{measure}_low_95", f"{measure}_high_95"


def _cells(rate: Rate | None) -> tuple[Cell, ...]:
    return (None,) * 4 if rate is None else (rate.value, rate.std, rate.low, rate.high)
