"""The section of noise: pictures under more and more of it, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epsball.record.lines import PictureLine
from epsball.reporting.csv import n_of
from epsball.reporting.pictures import PictureCell, PictureTable, png
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from epsball.reporting.runs import Run, Story


@sections.register("noise")
@dataclass(frozen=True)
class NoiseSection(Section):
    """What is left of pictures under the noise of smoothing."""

    title: str = "What the noise leaves"
    short: str = "Noise"
    place: int = 1200
    missing: str = "No noisy pictures in these runs."
    command: str = "epsball analyse noise --data {data} --index 0:3"

    def content(self, story: Story) -> Content:
        return given(noise=[(run, noise_tables(run)) for run in story.having(PictureLine)])


def noise_tables(run: Run) -> list[PictureTable]:
    """The pictures of a run by group, in the record's order of rows and columns."""
    groups: dict[str, list[PictureLine]] = {}
    for line in run.of(PictureLine):
        groups.setdefault(line.group, []).append(line)
    return [_noise_table(f"figure-noise-{run.id}-{place}", title, lines) for place, (title, lines) in enumerate(groups.items(), 1)]


def _noise_table(ident: str, title: str, lines: list[PictureLine]) -> PictureTable:
    columns = tuple(dict.fromkeys(line.column for line in lines))
    rows = tuple(dict.fromkeys(line.row for line in lines))
    cells = {(line.row, line.column): _cell(line) for line in lines}
    shown = tuple((row, tuple(cells.get((row, column)) for column in columns)) for row in rows)
    return PictureTable(ident, title, n_of(len(cells), "picture"), columns, shown)


def _cell(line: PictureLine) -> PictureCell:
    pixels = np.frombuffer(line.values, np.uint8).reshape(line.shape).transpose(1, 2, 0) / 255
    return png(pixels), line.note, line.shape[2], line.shape[1]
