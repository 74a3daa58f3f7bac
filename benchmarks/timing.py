"""Ratios of CPU time, interleaved in one run: the only figure that survives a shared machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def ratios(
    arms: Mapping[str, Callable[[], object]], *, base: str, rounds: int = 15, slice_seconds: float = 0.05
) -> dict[str, dict]:
    """Median CPU seconds of each arm and their multiple of the base arm's median.

    Every arm runs once in every round, repeated within it for about `slice_seconds`, so that a slow moment hits all of them.
    """
    repeats = {}
    for name, arm in arms.items():
        arm()
        start = time.process_time()
        arm()
        repeats[name] = max(1, int(slice_seconds / max(time.process_time() - start, 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                arm()
            seconds[name].append((time.process_time() - start) / repeats[name])
    reference = statistics.median(seconds[base])
    return {
        name: {
            "milliseconds": round(statistics.median(times) * 1e3, 4),
            "ratio": round(statistics.median(times) / reference, 2),
            "low": round(min(times) / reference, 2),
            "high": round(max(times) / reference, 2),
        }
        for name, times in seconds.items()
    }
