"""Augmentation of pictures on the device they live on: no picture leaves it, and nothing is read back."""

from __future__ import annotations

import torch

from epsball.types import Float, Tensor


def flip_and_crop(x: Float[Tensor, "B C H W"], padding: int, generator: torch.Generator) -> Float[Tensor, "B C H W"]:
    """Each picture mirrored or not, and moved by up to `padding` pixels each way; its edge pixels fill what comes in.

    Args:
        x: the pictures.
        padding: pixels; 0 for mirroring alone.
        generator: on the pictures' device.
    """
    count, channels, height, width = x.shape
    device = x.device

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count, 1), generator=generator, device=device)

    rows = (torch.arange(height, device=device) + integers(-padding, padding + 1)).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + integers(-padding, padding + 1)).clamp(0, width - 1)
    columns = torch.where(integers(0, 2) > 0, columns.flip(1), columns)
    sample = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return x[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]
