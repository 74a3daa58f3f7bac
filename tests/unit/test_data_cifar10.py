"""CIFAR-10 from its packed form to the official batches, and the PNG reader against pictures that pillow writes."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from epsball.data.base import sources
from epsball.data.cifar10 import Cifar10
from epsball.data.origins import CannotFetch
from epsball.data.png import decode
from epsball.errors import BadFile

NAMES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
RANDOM = np.random.default_rng(0)


def png(pixels: np.ndarray, filters: list[int]) -> bytes:
    """A PNG whose rows have these filters, applied one pixel at a time."""
    height, width, channels = pixels.shape
    plain, rows = pixels.astype(int), b""
    for r in range(height):
        line = []
        for c in range(width):
            for k in range(channels):
                left = plain[r, c - 1, k] if c else 0
                above = plain[r - 1, c, k] if r else 0
                corner = plain[r - 1, c - 1, k] if r and c else 0
                p = left + above - corner
                distances = [abs(p - left), abs(p - above), abs(p - corner)]
                paeth = (left, above, corner)[distances.index(min(distances))]
                line.append((plain[r, c, k] - (0, left, above, (left + above) // 2, paeth)[filters[r]]) % 256)
        rows += bytes([filters[r], *line])
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = zlib.compress(rows)
    chunks = [
        (b"IHDR", header),
        (b"IDAT", body[: len(body) // 2]),
        (b"tEXt", b"a\0b"),
        (b"IDAT", body[len(body) // 2 :]),
        (b"IEND", b""),
    ]
    made = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + made


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_filter_and_what_pillow_writes(channels: int) -> None:
    pixels = RANDOM.integers(0, 256, (11, 7, channels), dtype=np.uint8)
    assert np.array_equal(decode(png(pixels, [4, 3, 2, 1, 0, 4, 4, 3, 3, 2, 1]), "x"), pixels)
    smooth = np.cumsum(RANDOM.integers(0, 3, (60, 50, channels)), axis=1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth.squeeze()).save(file, "png")
    assert np.array_equal(decode(file.getvalue(), "x"), smooth)


@pytest.mark.parametrize("change", [
    lambda d: b"GIF89a" + d,
    lambda d: d[:-20],
    lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:],
    lambda d: d[:24] + b"\x10" + d[25:29] + struct.pack(">I", zlib.crc32(d[12:24] + b"\x10" + d[25:29])) + d[33:],
    lambda d: d[:16] + b"\x7f" + d[17:29] + struct.pack(">I", zlib.crc32(d[12:16] + b"\x7f" + d[17:29])) + d[33:],
])  # fmt: skip
def test_a_damaged_or_unusual_png_is_refused(change) -> None:
    data = png(RANDOM.integers(0, 256, (9, 8, 3), dtype=np.uint8), [1] * 9)
    with pytest.raises(BadFile):
        decode(change(data), "x")


class Packed:
    """Six small batches as the package holds them."""

    def __init__(self) -> None:
        self.x = RANDOM.integers(0, 256, (6, 4, 3, 32, 32), dtype=np.uint8)
        self.y = RANDOM.integers(0, 10, (6, 4))

    def __str__(self) -> str:
        return "a test"

    def fetch(self, names: Iterable[str]) -> dict[str, bytes]:
        files = {"train_lables.json": json.dumps(self.y[:5].reshape(-1).tolist()).encode()}
        files["test_lables.json"] = json.dumps(self.y[5].tolist()).encode()
        for i, name in enumerate(NAMES):
            files[f"{name}.png"] = png(self.x[i].reshape(4, 3, 1024).transpose(0, 2, 1), [1, 4, 1, 0])
        return {name: files[name] for name in names}

    @property
    def official(self) -> dict[str, bytes]:
        return {
            name: b"".join(bytes([label]) + picture.tobytes() for label, picture in zip(self.y[i], self.x[i], strict=True))
            for i, name in enumerate(NAMES)
        }


def small(packed: Packed) -> Cifar10:
    hashes = {name: hashlib.sha1(data, usedforsecurity=False).hexdigest() for name, data in packed.official.items()}
    return Cifar10(sha1=hashes, pictures=4, origin=packed)


def test_the_official_batches_are_rebuilt_verified_and_read(tmp_path: Path) -> None:
    packed, said = Packed(), []
    source = small(packed)
    source.fetch(tmp_path, said.append)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {f"{n}.bin": d for n, d in packed.official.items()}
    assert "SHA-1 of 6 batches verified" in said[-1]
    data = source.load(tmp_path)
    assert torch.equal(data.train.x, torch.from_numpy(packed.x[:5].reshape(20, 3, 32, 32)))
    assert data.test.y.tolist() == packed.y[5].tolist()
    (tmp_path / "data_batch_2.bin").write_bytes(packed.official["data_batch_3"])
    with pytest.raises(BadFile, match="not the published data_batch_2"):
        source.load(tmp_path)


def test_nothing_is_written_when_one_batch_is_wrong(tmp_path: Path) -> None:
    packed = Packed()
    source = small(packed)
    packed.x = packed.x.copy()
    packed.x[5, 0, 0, 0, 0] ^= 1
    with pytest.raises(CannotFetch, match="not the published test_batch"):
        source.fetch(tmp_path / "new", lambda _: None)
    assert not (tmp_path / "new").exists()


def test_the_registered_source_is_pinned_to_the_published_hashes() -> None:
    source = sources["cifar10"]
    assert sorted(source.sha1) == sorted(NAMES)
    assert all(len(value) == 40 for value in source.sha1.values())
    assert not source.holds(Path("/nowhere"))
