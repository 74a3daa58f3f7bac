"""The section of margins: where the proven ones lie, and those that the attack found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.reporting.commands import VERIFY
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.drawing import INK, draw
from epsball.reporting.figures import WIDE, Figure, look, short
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from epsball.record.lines import InstanceLine
    from epsball.reporting.runs import Run, Story

_BINS = 48


@sections.register("margins")
@dataclass(frozen=True)
class MarginsSection(Section):
    """The distribution of margins by method, for every verification."""

    title: str = "Margins"
    short: str = "Margins"
    place: int = 400
    missing: str = "No margins in these runs."
    command: str = VERIFY

    def content(self, story: Story) -> Content:
        return given(margins=[(run, figure) for run in story.judged if (figure := margin_figure(run)) is not None])


def margin_figure(run: Run) -> Figure | None:
    """Where the proven margins of each method lie, on one axis; and the margins that the attack found."""
    found = _margins(run.instances)
    if not found:
        return None
    values = np.concatenate([np.array(v) for v in found.values()])
    low, high = (float(q) for q in np.quantile(values, (0.005, 0.995)))
    low, high = min(low, 0.0), max(high, 0.0)
    high = high if high > low else 1.0
    width = (high - low) / _BINS
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)  # zero is an edge: no bin holds both signs
    counts = {name: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for name, v in found.items()}
    drawings = tuple(
        draw(
            _histogram(name, found[name], edges, counts[name], look(name, position)[0]),
            alt=f"Margins by {name}: {sum(v > 0 for v in found[name]):,} of {len(found[name]):,} lie above zero.",
            ident=f"margin-{run.id}-{position}", size=WIDE,
        )
        for position, name in enumerate(found)
    )  # fmt: skip
    rows = tuple((name, float(edges[i]), float(edges[i + 1]), int(n)) for name in found for i, n in enumerate(counts[name]))
    sheet = Sheet(f"margins-{run.id}.csv", ("method", "from", "to", "inputs"), rows)
    return Figure(
        f"figure-margins-{run.id}", "Margins by method", n_of(len(run.instances), "input"), drawings, sheet,
        "Proven lower bounds of the margin: an input counts as verified right of zero. A method of the ladder sees only what "
        "earlier steps left over. The outermost 0.5 % on each side are in the end bins.",
    )  # fmt: skip


def _margins(instances: Sequence[InstanceLine]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for line in instances:
        named: dict[str, float | None] = dict(line.bounds) or {line.by: line.margin}
        for name, value in ({"attacked": line.attacked_margin} | named).items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return found


def _histogram(name: str, values: list[float], edges: np.ndarray, counts: np.ndarray, colour: str) -> Callable[[Axes], None]:
    def paint(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=colour)
        axes.axvline(0, color=INK, linewidth=1)
        above = sum(value > 0 for value in values)
        axes.set_title(f"{short(name)}: {above:,} of {len(values):,} above zero")
        axes.set_xlabel("margin")
        axes.set_ylabel("inputs")
        axes.locator_params(axis="y", integer=True)

    return paint
