"""What is true of a run that was stopped and resumed: lines after the checkpoint it went on from no longer count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.record.lines import EpochLine, Line, MetricsLine, ReluLine, ResumeLine, TightnessLine

if TYPE_CHECKING:
    from collections.abc import Iterable


def current(lines: Iterable[Line]) -> list[Line]:
    """The lines of a training record without those that a later resumption took again.

    A `ResumeLine` says that the run went on from its step: lines before it with a greater step are superseded, and so are the ReLU
    states of their epochs. A run that goes on from step 0 measures the untrained network again.
    """
    kept: list[Line] = []
    for line in lines:
        if isinstance(line, ResumeLine):
            late = {past.epoch for past in kept if isinstance(past, EpochLine) and past.step > line.step}
            kept = [past for past in kept if not _superseded(past, line.step, late)]
        kept.append(line)
    return kept


def _superseded(line: Line, step: int, late_epochs: set[float]) -> bool:
    if isinstance(line, ReluLine):
        return line.epoch in late_epochs
    if isinstance(line, TightnessLine):
        return step == 0 or line.step > step
    return isinstance(line, MetricsLine | EpochLine) and line.step > step
