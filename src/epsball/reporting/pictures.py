"""Adversarial examples as PNG pictures in data: links, made from the record's numbers alone."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epsball.record.lines import WitnessLine
    from epsball.reporting.runs import Run

    Pixels = NDArray[np.float64]

PictureCell = tuple[str, str, int, int]  # data: link, note, width and height in pixels
_LESS, _MORE = np.array([0.72, 0.28, 0.13]), np.array([0.06, 0.42, 0.40])


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


@dataclass(frozen=True)
class PictureTable:
    """Pictures side by side.

    Attributes:
        title: of the group.
        columns: headings.
        rows: (name, one cell a column, or None).
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[PictureCell | None, ...]], ...]


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


def png(pixels: Pixels) -> str:
    """A picture (H, W, C) of values in [0, 1], one or three channels, as a PNG in a data: link."""
    height, width, channels = pixels.shape
    values = np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8).reshape(height, width * channels)
    rows = np.concatenate((np.zeros((height, 1), np.uint8), values), axis=1).tobytes()  # filter 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
