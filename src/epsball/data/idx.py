"""The idx format of MNIST: a big-endian header (two zero bytes, a type, a rank, the sizes) and the values.

Files are taken as they are or gzipped, told apart by their first bytes. Only unsigned bytes (type 8) are read.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from epsball.errors import BadFile

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.types import Tensor

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
LIMIT = 2**30  # bytes of one decompressed file: a gzip bomb ends here
_GZIP = b"\x1f\x8b"
_UBYTE = 8


def locate(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder, gzipped or not, or None."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def read(folder: Path, name: str) -> tuple[bytes, Path]:
    """The decompressed bytes of a file, and its path.

    Raises:
        BadFile: it is missing, unreadable or a damaged gzip file.
    """
    path = locate(folder, name)
    if path is None:
        raise BadFile(f"{name} (or {name}.gz) is missing", where=str(folder), fix="put all four idx files into this folder")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(
            f"the file cannot be read: {error.strerror}", where=str(path), fix="check the path and its permissions"
        ) from error
    return unpack(data, str(path)), path


def unpack(data: bytes, where: str, limit: int = LIMIT) -> bytes:
    """The bytes themselves, decompressed if they are gzip.

    Raises:
        BadFile: a truncated or damaged gzip stream, or one of more than `limit` bytes.
    """
    if data[:2] != _GZIP:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            plain = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"a truncated or damaged gzip file: {error}", where=where, fix="fetch or copy it again") from error
    if len(plain) > limit:
        raise BadFile(f"a gzip file of more than {limit:,} bytes", where=where, fix="check where the file comes from")
    return plain


def parse(data: bytes, rank: int, where: str) -> Tensor:
    """The values of an idx file.

    Args:
        data: the decompressed file.
        rank: how many axes it must have: 3 for pictures, 1 for labels.
        where: named in errors.

    Returns:
        uint8, of the shape that the header says.

    Raises:
        BadFile: not an idx file of unsigned bytes and this rank, or shorter or longer than its header says.
    """
    if len(data) < 4:
        raise BadFile(f"an idx file of {len(data)} bytes is truncated", where=where, fix="fetch or copy it again")
    if data[:2] != b"\0\0" or data[2] != _UBYTE or data[3] != rank:
        raise BadFile(
            f"not an idx file of bytes with {rank} axes: it starts with {data[:4].hex()} instead of 000008{rank:02x}",
            where=where,
            fix="give the four files of the MNIST layout: images idx3, labels idx1",
        )
    header = 4 + 4 * rank
    if len(data) < header:
        raise BadFile("an idx file is truncated in its header", where=where, fix="fetch or copy it again")
    shape = struct.unpack(f">{rank}I", data[4:header])
    promised, found = math.prod(shape), len(data) - header
    if promised != found:
        what = "truncated" if found < promised else "longer than its header says"
        raise BadFile(
            f"an idx file is {what}: {found:,} values instead of {promised:,} {shape}", where=where, fix="fetch or copy it again"
        )
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy())


def labels(values: Tensor, count: int, classes: int, where: str) -> Tensor:
    """Labels as int64, one for each picture.

    Raises:
        BadFile: another count than the pictures', or a label out of range.
    """
    if len(values) != count:
        raise BadFile(f"{len(values):,} labels for {count:,} pictures", where=where, fix="give files of one and the same set")
    if count and int(values.max()) >= classes:
        raise BadFile(
            f"a label {int(values.max())} lies outside 0..{classes - 1}", where=where, fix="check where the file comes from"
        )
    return values.long()
