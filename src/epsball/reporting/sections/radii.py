"""The section of certified radii: one curve a method, and the boxes that have a radius of their own for each input element."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.record.lines import RadiusLine
from epsball.reporting.certified_curves import Curve, certified_figure
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.pictures import PictureTable, png
from epsball.reporting.section import Content, Section, given, sections
from epsball.smoothing.log import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.reporting.figures import Figure
    from epsball.reporting.pictures import PictureCell
    from epsball.reporting.runs import Run, Story

_MOST_BOXES = 12


@sections.register("radii")
@dataclass(frozen=True)
class RadiiSection(Section):
    """The largest radii that were proven, by method, and boxes."""

    title: str = "Certified radii"
    short: str = "Radii"
    place: int = 1000
    missing: str = "No certified radii in these runs."
    command: str = "epsball analyse radius {model} --data {data} --index :20 --method crown,ibp"

    def content(self, story: Story) -> Content:
        return given(radii=[(run, panel) for run in story.runs if (panel := radii_panel(run)) is not None])


@dataclass(frozen=True)
class MethodRow:
    """One method in the table; misclassified inputs count 0.

    Attributes:
        mean: radius.
        median: radius.
        proven: inputs with a radius above 0.
        seconds: for one input that is classified rightly, mean; None where the record does not say.
    """

    name: str
    mean: float
    median: float
    proven: int
    seconds: float | None


@dataclass(frozen=True)
class RadiiPanel:
    """The radii of one run.

    Attributes:
        inputs: how many.
        misclassified: how many of them.
        boxes: input and radius map of a few, or None.
        gain: of the boxes in geometric-mean width over the uniform one, mean; None without boxes.
    """

    figure: Figure
    rows: tuple[MethodRow, ...]
    sheet: Sheet
    inputs: int
    misclassified: int
    boxes: PictureTable | None
    gain: float | None


def radii_panel(run: Run) -> RadiiPanel | None:
    """What a run says of certified radii, or None where it measured none."""
    lines = list({line.index: line for line in run.of(RadiusLine)}.values())
    methods = list(dict.fromkeys(name for line in lines for name in line.radii))
    if not methods:
        return None
    right = [line for line in lines if line.status == "done"]
    gains = [line.box.gain for line in lines if line.box is not None and line.box.gain is not None]
    caption = (
        "Share of all inputs that are classified rightly, with at least this proven radius. The bands are 95 % limits over the "
        "choice of inputs; the radii themselves are proofs."
    )
    curves = [Curve(name, name, [_row(line, name) for line in lines]) for name in methods]
    table = tuple(_method(name, lines, right) for name in methods)
    columns = ("method", "mean", "median", "above_0", "seconds")
    sheet = Sheet(f"radii-{run.id}.csv", columns, tuple((r.name, r.mean, r.median, r.proven, r.seconds) for r in table))
    figure = certified_figure(f"radii-{run.id}", curves, str(run.header.config.get("norm", "")), "method", caption)
    return RadiiPanel(
        figure,
        table,
        sheet,
        len(lines),
        len(lines) - len(right),
        _boxes(run, lines),
        statistics.fmean(gains) if gains else None,
    )


def _row(line: RadiusLine, name: str) -> Row:
    predicted = line.predicted if line.status == "done" else None
    return Row.of(line.index, line.label, predicted, line.radii.get(name, 0.0), line.seconds.get(name, 0.0))


def _method(name: str, lines: Sequence[RadiusLine], right: Sequence[RadiusLine]) -> MethodRow:
    values = [line.radii.get(name, 0.0) if line.status == "done" else 0.0 for line in lines]
    spent = [line.seconds[name] for line in right if name in line.seconds]
    seconds = statistics.fmean(spent) if spent else None
    return MethodRow(name, statistics.fmean(values), statistics.median(values), sum(v > 0 for v in values), seconds)


def _boxes(run: Run, lines: Sequence[RadiusLine]) -> PictureTable | None:
    shown = [pair for line in lines if (pair := _pair(line)) is not None][:_MOST_BOXES]
    if not shown:
        return None
    columns = tuple(f"input {index}" for index, _, _ in shown)
    return PictureTable(
        f"figure-boxes-{run.id}",
        "Boxes: bright where the input may change most, black where its radius is 0",
        n_of(len(shown), "input"),
        columns,
        (("input", tuple(x for _, x, _ in shown)), ("radius", tuple(radius for _, _, radius in shown))),
    )


def _pair(line: RadiusLine) -> tuple[int, PictureCell, PictureCell] | None:
    """An input and its radius map as pictures; None where it is no picture or was not recorded."""
    box = line.box
    if box is None or box.x is None or len(box.shape) != 3 or box.shape[0] not in (1, 3):
        return None
    x, radius = (np.array(values, np.float64).reshape(box.shape).transpose(1, 2, 0) for values in (box.x, box.radius))
    low, high = min(0.0, float(x.min())), max(1.0, float(x.max()))
    height, width = box.shape[1:]
    scaled = radius / max(float(radius.max()), np.finfo(np.float64).tiny)
    gain = "" if box.gain is None else f", gain {100 * box.gain:.0f} %"
    note = f"{box.narrowest:.3g} to {box.widest:.3g}{gain}"
    return line.index, (png((x - low) / (high - low)), f"label {line.label}", width, height), (png(scaled), note, width, height)
