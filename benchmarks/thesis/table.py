"""The table: mean and deviation of every cell that has records, and the thesis' figure beside it."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.tables import markdown
from benchmarks.thesis.published import ABLATION, LONG, PRINTED, Figure
from benchmarks.thesis.rows import ARMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.thesis.runs import Outcome

COLUMNS = ("cell", "seeds", "standard error, %", "verified error, %", "certified training error, %", "thesis: standard", "verified")


def grouped(found: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The repeats of each cell, in the order of the arms."""
    cells: dict[str, list[Outcome]] = defaultdict(list)
    order = list(ARMS)
    for one in sorted(found, key=lambda one: (one.row.scale, one.row.block, order.index(one.row.arm), one.row.seed)):
        cells[one.row.cell].append(one)
    return cells


def table(found: Iterable[Outcome]) -> str:
    """Markdown. A cell with a collapsed run says so and is no mean."""
    rows = []
    for name, repeats in grouped(found).items():
        row = repeats[0].row
        printed = PRINTED.get((row.block, row.arm, row.network))
        own = [figure([getattr(one, what) for one in repeats]) for what in ("clean", "verified", "train_verified")]
        collapsed = sum(one.collapsed for one in repeats)
        marked = f" ({collapsed} collapsed)" if collapsed else ""
        literature = ("", f"{ABLATION[row.arm]:.2f} (Shi et al.)") if row.arm in ABLATION and row.block == LONG else ("", "")
        there = literature if printed is None else tuple("" if math.isnan(one.mean) else str(one) for one in printed)
        rows.append((name + marked, ", ".join(str(one.row.seed) for one in repeats), *own, *there))
    return markdown(COLUMNS, rows)


def figure(values: list[float]) -> str:
    """A mean and its deviation over seeds; of one seed the value alone."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return str(Figure(statistics.mean(values), statistics.stdev(values)))
