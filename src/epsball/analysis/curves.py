"""Curves over the records of several runs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epsball.record.lines import SummaryLine


class Point(NamedTuple):
    """A share at one radius, with its 95 % confidence limits."""

    eps: float
    value: float
    low: float
    high: float


def verified_against_eps(summaries: Iterable[SummaryLine]) -> dict[tuple[str, str], list[Point]]:
    """Verified accuracy against the radius.

    Args:
        summaries: "summary" lines of verification records.

    Returns:
        A curve for each subject (model, data, norm) and method, and "verified" for all methods together, by rising eps. Curves with
        a single point are left out. Where a radius comes twice, the later line counts.
    """
    found: dict[tuple[str, str], dict[float, Point]] = defaultdict(dict)
    for line in summaries:
        if line.eps is None:
            continue
        subject = " ".join(part for part in (line.model, line.data, line.norm) if part)
        rates = dict(line.verified_by)
        if "verified" in line.accuracy:
            rates["verified"] = line.accuracy["verified"]
        for name, rate in rates.items():
            found[subject, name][line.eps] = Point(line.eps, rate.value, rate.low, rate.high)
    return {key: [points[eps] for eps in sorted(points)] for key, points in found.items() if len(points) > 1}
