"""What the thesis says of its table, and whether runs show it: a difference above two standard errors, over three seeds or more."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.thesis.runs import Outcome

SEEDS = 3
CLAIMS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (  # the sentence; the arms said to be lower; those above them
    ("ours verifies more than vanilla IBP", ("ours",), ("ibp",)),
    ("ours verifies more than CROWN-IBP with loss fusion", ("ours",), ("crown-ibp",)),
    ("on a short schedule loss fusion is no better than vanilla IBP", ("ibp",), ("crown-ibp",)),
    ("batch norm helps", ("ibp",), ("no-batch-norm",)),
    ("the initialisation helps with the regularisers", ("ours",), ("regularisers",)),
    ("the regularisers help with the initialisation", ("ours",), ("initialisation",)),
    ("batch norm is worth more than the regularisers", ("ibp", "regularisers"), ("no-batch-norm", "ibp")),
)


@dataclass(frozen=True)
class Shown:
    """One claim.

    Attributes:
        claim: the sentence.
        gain: points of verified error; of the last claim the difference of two gains. NaN without runs.
        error: its standard error; NaN below two seeds.
        seeds: of the arm with the fewest.
    """

    claim: str
    gain: float
    error: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Shown, not shown (the reverse is), within the noise, or how many seeds there are."""
        if self.seeds < SEEDS:
            return f"open: {self.seeds} of {SEEDS} seeds"
        if abs(self.gain) <= 2 * self.error:
            return "within the noise"
        return "shown" if self.gain > 0 else "not shown: the reverse"


def claims(found: Iterable[Outcome]) -> list[Shown]:
    """Every claim over the runs of one block and one network. A collapsed run counts: its verified error is what it is."""
    errors: dict[str, list[float]] = {}
    for one in found:
        errors.setdefault(one.row.arm, []).append(one.verified)
    told = []
    for claim, lower, upper in CLAIMS:
        arms = [errors.get(arm, []) for arm in (*lower, *upper)]
        seeds = min(map(len, arms))
        if not seeds:
            told.append(Shown(claim, math.nan, math.nan, 0))
            continue
        if len(lower) == 1:
            gain, variance = _gain(arms[0], arms[1])
        else:  # (no batch norm - vanilla) - (vanilla - regularisers)
            batch_norm, other = _gain(arms[0], arms[2]), _gain(arms[1], arms[3])
            gain, variance = batch_norm[0] - other[0], batch_norm[1] + other[1]
        told.append(Shown(claim, gain, math.sqrt(variance), seeds))
    return told


def _gain(lower: Sequence[float], upper: Sequence[float]) -> tuple[float, float]:
    """The difference of two means and its variance."""
    spread = [statistics.variance(side) / len(side) if len(side) > 1 else math.nan for side in (lower, upper)]
    return statistics.mean(upper) - statistics.mean(lower), sum(spread)
