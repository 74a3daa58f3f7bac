"""Which examples an index holds, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def sliced(index: Sequence[int]) -> str:
    """Examples by their numbers, as a reader says it: `the first 200`, `numbers 100 to 299`, `every 10th from 0 on`."""
    if not index:
        return "none"
    if len(index) == 1:
        return f"number {index[0]}"
    steps = {b - a for a, b in pairwise(index)}
    if len(steps) > 1 or min(steps) < 1:
        return f"{len(index):,} by their numbers, {min(index)} to {max(index)}"
    step = steps.pop()
    if step == 1:
        return f"the first {len(index):,}" if index[0] == 0 else f"numbers {index[0]} to {index[-1]}"
    return f"every {_ordinal(step)} from {index[0]} on, to {index[-1]}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
