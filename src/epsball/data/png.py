"""A reader of plain PNG files: 8 bits a sample, grey, RGB or RGBA, not interlaced. For pictures that data sets are packed in.

The standard library decompresses; the five row filters are undone here (PNG specification, section 9).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from epsball.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 6: 4}  # by colour type
_NONE, _SUB, _UP, _AVERAGE, _PAETH = range(5)
_LIMIT = 2**28


def decode(data: bytes, where: str) -> NDArray[np.uint8]:
    """The pixels (H, W, C) of a PNG file.

    Args:
        data: the whole file.
        where: named in errors.

    Raises:
        BadFile: no such PNG: truncated, damaged, of another kind, or of more than 2^28 bytes of pixels.
    """
    try:
        return _decode(data, where)
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise BadFile(f"a damaged PNG file: {error}", where=where, fix="fetch or copy it again") from error


def _decode(data: bytes, where: str) -> NDArray[np.uint8]:
    chunks = list(_chunks(data, where))
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if chunks[0][0] != b"IHDR" or depth != 8 or colour not in _CHANNELS or interlace:
        raise BadFile(
            f"a PNG of depth {depth}, colour type {colour} and interlacing {interlace}",
            where=where,
            fix="only 8-bit grey, RGB and RGBA pictures without interlacing are read",
        )
    channels = _CHANNELS[colour]
    size = height * (1 + width * channels)
    if not 0 < size <= _LIMIT:
        raise BadFile(f"a PNG of {width} x {height} pixels", where=where, fix=f"at most {_LIMIT:,} bytes of pixels are read")
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    plain = zlib.decompressobj().decompress(packed, size + 1)
    if len(plain) != size:
        raise BadFile(f"a PNG of {len(plain):,} bytes instead of {size:,}", where=where, fix="fetch or copy it again")
    rows = np.frombuffer(plain, np.uint8).reshape(height, 1 + width * channels)
    return _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, channels))


def _chunks(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(_SIGNATURE):
        raise BadFile("not a PNG file", where=where, fix="fetch or copy it again")
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (check,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(kind + body) != check:
            raise BadFile(f"a PNG whose {kind.decode('latin-1')} chunk is damaged", where=where, fix="fetch or copy it again")
        yield kind, body
        at += 12 + length


def _unfilter(filters: NDArray[np.uint8], filtered: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters; rows that do not need the one above them are done all at once, for they are most."""
    if filters.max() > _PAETH:
        raise ValueError(f"unknown filter {filters.max()}")
    pixels = filtered.copy()
    sub = filters == _SUB
    pixels[sub] = np.cumsum(filtered[sub], axis=1, dtype=np.uint8)
    for row in np.flatnonzero(filters > _SUB):
        above = pixels[row - 1] if row else np.zeros_like(pixels[0])
        if filters[row] == _UP:
            pixels[row] = filtered[row] + above
        else:
            pixels[row] = _sequential(filtered[row], above, paeth=filters[row] == _PAETH)
    return pixels


def _sequential(filtered: NDArray[np.uint8], above: NDArray[np.uint8], *, paeth: bool) -> NDArray[np.uint8]:
    """A row whose prediction needs the pixel to the left: the average, or the nearest of left, above and upper left."""
    channels = filtered.shape[1]
    out, up = [0] * channels, [0] * channels + above.reshape(-1).tolist()
    for i, value in enumerate(filtered.reshape(-1).tolist(), channels):
        left, top, corner = out[i - channels], up[i], up[i - channels]
        if paeth:
            nearest = left + top - corner
            guess = min((abs(nearest - left), 0, left), (abs(nearest - top), 1, top), (abs(nearest - corner), 2, corner))[2]
        else:
            guess = (left + top) // 2
        out.append((value + guess) & 255)
    return np.array(out[channels:], np.uint8).reshape(filtered.shape)
