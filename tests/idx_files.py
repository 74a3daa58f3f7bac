"""Small data sets in the idx format, made byte by byte, for the tests."""

from __future__ import annotations

import hashlib
import struct

import torch

from epsball.data import idx
from epsball.data.mnist import IdxSource


def idx_bytes(values: torch.Tensor) -> bytes:
    """An idx file of unsigned bytes, written from the format's definition."""
    head = bytes([0, 0, 8, values.dim()]) + b"".join(struct.pack(">I", n) for n in values.shape)
    return head + bytes(values.flatten().tolist())


def tiny(classes: int = 3, count: int = 6) -> dict[str, bytes]:
    """The four files of a small set."""
    generator = torch.Generator().manual_seed(0)
    files = {}
    for key, name in idx.FILES.items():
        number = count if key.endswith("train") else 2
        shape = (number, 4, 5) if key.startswith("x") else (number,)
        values = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        files[name] = idx_bytes(values if key.startswith("x") else torch.arange(number, dtype=torch.uint8) % classes)
    return files


def source(files: dict[str, bytes], **changes) -> IdxSource:
    """A source pinned to these files."""
    pinned = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    given = {"name": "tiny", "size": "1 kB", "terms": "none", "places": ("Tiny/raw", "tiny"), "sha256": pinned}
    return IdxSource(**given | {"mean": 0.5, "std": 0.25, "classes": 3} | changes)


def put(folder, files, suffix="", pack=bytes):
    """Write files into a new folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / f"{name}{suffix}").write_bytes(pack(data))
