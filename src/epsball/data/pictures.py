"""A picture file as a tensor. Pillow decodes it; it comes with the report's drawing library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from epsball.errors import BadFile, MissingExtra
from epsball.types import Float, Tensor

_MOST_PIXELS = 2**26


def read_picture(path: Path) -> Float[Tensor, "C H W"]:
    """The pixels of a picture file, three channels in [0, 1].

    Raises:
        BadFile: missing, no picture, or larger than 64 million pixels.
        MissingExtra: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtra("reading a picture needs pillow", fix="pip install 'epsball[report]'") from error
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise BadFile(f"a picture of {picture.width} x {picture.height} pixels", where=str(path), fix="make it smaller")
            pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadFile(f"no picture could be read: {error}", where=str(path), fix="give a JPEG or PNG file") from error
    return torch.from_numpy(pixels.transpose(2, 0, 1) / 255)
