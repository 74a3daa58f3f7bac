"""What Gaussian noise leaves of a picture, at one resolution and at another.

The same sigma a pixel hides a small picture and spares a large one: averaging n x n pixels to one divides the noise by n. So a
large picture can be smoothed with more noise, which certifies a larger l2 radius.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from epsball.device import generator
from epsball.errors import BadConfig
from epsball.record.lines import PictureLine
from epsball.types import Float, Tensor

Picture = Float[Tensor, "C H W"]


def square(picture: Picture, side: int) -> Picture:
    """The middle square of a picture at another size: the mean of the pixels that fall into one, or pixels repeated.

    Raises:
        BadConfig: the side is not positive.
    """
    if side < 1:
        raise BadConfig(f"a picture of {side} x {side} pixels", fix="give a side of at least 1")
    least = min(picture.shape[1:])
    top, left = (picture.shape[1] - least) // 2, (picture.shape[2] - least) // 2
    middle = picture[:, top : top + least, left : left + least]
    if side == least:
        return middle
    resized: Tensor = F.interpolate(middle[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def noisy(picture: Picture, sigma: float, seed: int = 0) -> Picture:
    """The picture plus Gaussian noise, not cut to the valid range.

    Raises:
        BadConfig: sigma is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise BadConfig(f"sigma must be at least 0, not {sigma}", fix="give a scale in units of the pixels, such as 0.25")
    noise = torch.randn(picture.shape, generator=generator(picture.device, seed), dtype=picture.dtype, device=picture.device)
    return picture + sigma * noise


def signal_to_noise(picture: Picture, sigma: float) -> float:
    """Deviation of the pixels over that of the noise, in decibels; infinite without noise, minus infinity for a blank picture."""
    spread = float(picture.std())
    if sigma == 0:
        return math.inf
    return 20 * math.log10(spread / sigma) if spread else -math.inf


def gallery(rows: Sequence[tuple[str, Picture]], sigmas: Sequence[float], group: str, seed: int = 0) -> Iterator[PictureLine]:
    """One record line a picture and sigma: what is seen of it, cut to [0, 1], and its signal-to-noise ratio.

    The ratio is that of the group's smallest size, which larger pictures can be averaged to: n x n pixels win 20 log10(n) decibels.
    """
    least = min((picture.shape[1] for _, picture in rows), default=1)
    for name, picture in rows:
        won = 20 * math.log10(picture.shape[1] / least)
        for sigma in sigmas:
            seen = (noisy(picture, sigma, seed).clamp(0, 1) * 255).round().to(torch.uint8).cpu().contiguous()
            ratio = signal_to_noise(picture, sigma) + won
            yield PictureLine(
                group=group,
                row=name,
                column=f"sigma {sigma:g}",
                shape=list(seen.shape),
                pixels=base64.b64encode(seen.numpy().tobytes()).decode(),
                note=f"{ratio:.1f} dB" if math.isfinite(ratio) else "",
            )
