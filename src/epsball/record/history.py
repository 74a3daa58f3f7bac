"""What is true of a run that was stopped and resumed: lines after the checkpoint it went on from no longer count."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epsball.record.journal import Line


def current(lines: Iterable[Line]) -> list[Line]:
    """The lines of a training record without those that a later resumption took again.

    A line `{"type": "resume", "step": s}` says that the run went on from step s: lines before it with a greater step are
    superseded, and so are the ReLU states of their epochs. A run that goes on from step 0 measures the untrained network again.
    """
    kept: list[Line] = []
    for line in lines:
        if line.get("type") == "resume":
            step = line["step"]
            late = {past["epoch"] for past in kept if past["type"] == "epoch" and past["step"] > step}
            kept = [past for past in kept if not _superseded(past, step, late)]
        kept.append(line)
    return kept


def _superseded(line: Line, step: int, late_epochs: set[int]) -> bool:
    if line["type"] == "relu":
        return line["epoch"] in late_epochs
    if line["type"] == "tightness":
        return step == 0 or line["step"] > step
    return line["type"] in ("metrics", "epoch") and line["step"] > step
