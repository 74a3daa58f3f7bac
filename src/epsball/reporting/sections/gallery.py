"""The section of adversarial examples: each as three pictures, or as its largest changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.record.lines import WitnessLine
from epsball.reporting.commands import ATTACK
from epsball.reporting.csv import Sheet, n_of
from epsball.reporting.figures import Figure
from epsball.reporting.pictures import PictureTable, pictured, png
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from epsball.reporting.csv import Cell
    from epsball.reporting.pictures import Pixels
    from epsball.reporting.runs import Run, Story

_LESS, _MORE = np.array([0.72, 0.28, 0.13]), np.array([0.06, 0.42, 0.40])


@sections.register("gallery")
@dataclass(frozen=True)
class GallerySection(Section):
    """Adversarial examples beside their inputs."""

    title: str = "Adversarial examples"
    short: str = "Gallery"
    place: int = 600
    missing: str = "No adversarial example in these runs."
    command: str = ATTACK

    def content(self, story: Story) -> Content:
        return given(
            pictures=[Gallery(run, tuple(picture(run, line) for line in pictured(run))) for run in story.having(WitnessLine)]
        )


@dataclass(frozen=True)
class Picture:
    """A witness as three pictures, or as its largest changes where the input is no picture.

    Attributes:
        witness: the line of the record.
        images: (label, data: link) of the input, the adversarial example and the magnified difference; empty for no picture.
        changes: (feature, before, after) of the five largest changes; empty for a picture.
        largest: the largest change of one element: the linf distance.
        length: the Euclidean distance.
    """

    run: Run
    witness: WitnessLine
    images: tuple[tuple[str, str], ...]
    changes: tuple[tuple[int, float, float], ...]
    largest: float
    length: float

    @property
    def id(self) -> str:
        return f"witness-{self.run.id}-{self.witness.index}"

    @property
    def name(self) -> str:
        return f"input {self.witness.index}, {self.witness.label} → {self.witness.predicted}"

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Which input it is, what became of it and how far it was moved."""
        w = self.witness
        return w.index, w.label, w.predicted, w.margin, self.largest, self.length


@dataclass(frozen=True)
class Gallery:
    """The adversarial examples of one run that the page shows."""

    run: Run
    pictures: tuple[Picture, ...]

    @property
    def figure(self) -> Figure:
        """Those that are pictures as drawings; all of them as data."""
        shown = tuple((p.name, tuple((uri, "", 0, 0) for _, uri in p.images)) for p in self.pictures if p.images)
        ident, n = f"figure-gallery-{self.run.id}", n_of(len(self.pictures), "input")
        drawn = PictureTable(ident, "", n, ("input", "adversarial", "difference"), shown).drawings
        return Figure(ident, "Adversarial examples", n, drawn, self.sheet, "")

    @property
    def sheet(self) -> Sheet:
        """One row a picture, and one for each change that is listed of what is none."""
        columns = ("input", "label", "predicted", "margin", "linf", "l2", "feature", "before", "after")
        nothing = ((None, None, None),)
        return Sheet(
            f"gallery-{self.run.id}.csv",
            columns,
            tuple((*p.cells, *change) for p in self.pictures for change in (p.changes or nothing)),
        )


def picture(run: Run, witness: WitnessLine) -> Picture:
    """What the gallery shows of one witness."""
    x, adversarial = np.array(witness.x, dtype=np.float64), np.array(witness.adversarial, dtype=np.float64)
    change = adversarial - x
    largest, length = float(np.abs(change).max()), float(np.linalg.norm(change))
    images: tuple[tuple[str, str], ...] = ()
    changes: tuple[tuple[int, float, float], ...] = ()
    if len(witness.shape) == 3 and witness.shape[0] in (1, 3):
        low, high = min(0.0, x.min(), adversarial.min()), max(1.0, x.max(), adversarial.max())
        before, after, moved = (_channels_last(values, witness.shape) for values in (x, adversarial, change))
        images = (
            ("input", png((before - low) / (high - low))),
            ("adversarial", png((after - low) / (high - low))),
            ("difference", png(difference(moved))),
        )
    else:
        order = np.argsort(-np.abs(change), kind="stable")[:5]
        changes = tuple((int(i), float(x[i]), float(adversarial[i])) for i in order)
    return Picture(run, witness, images, changes, largest, length)


def _channels_last(values: Pixels, shape: list[int]) -> Pixels:
    return values.reshape(shape).transpose(1, 2, 0)


def difference(change: Pixels) -> Pixels:
    """A change (H, W, C) scaled to its largest element, as colours in [0, 1].

    One channel: white where nothing changed, towards one colour where it grew and another where it shrank. Three channels: mid
    grey where nothing changed, each channel up or down from there.
    """
    scaled = change / max(float(np.abs(change).max()), np.finfo(np.float64).tiny)
    if change.shape[2] == 3:
        return 0.5 + scaled / 2
    ends = np.where(scaled < 0, _LESS, _MORE)
    shown: Pixels = 1 + np.abs(scaled) * (ends - 1)
    return shown
