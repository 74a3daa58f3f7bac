"""LeNet (LeCun et al. 1998) with ReLU and max-pooling: the small network that smoothing is compared on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from epsball.errors import BadShape
from epsball.models.base import Shape, models
from epsball.models.convolutional import picture


class MaxPool2d(nn.MaxPool2d):
    """The maximum of 2x2 windows: torch's own layer, but ten times faster on the CPU where no gradient is asked for."""

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H // 2, W // 2)."""
        if torch.compiler.is_exporting() or (torch.is_grad_enabled() and x.requires_grad):
            whole: Tensor = super().forward(x)  # bounds know the layer as a whole, and its own gradient is the faster one
            return whole
        x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
        upper, lower = x[..., ::2, :], x[..., 1::2, :]
        rows = torch.maximum(upper, lower)
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


@models.register("lenet")
def lenet(
    input_shape: Shape, classes: int, *, channels: tuple[int, ...] = (6, 16), hidden: tuple[int, ...] = (120, 84)
) -> nn.Module:
    """5x5 convolutions padded by 2, each with ReLU and 2x2 max-pooling, then linear layers with ReLU between them.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        channels: of the convolutions.
        hidden: widths of the hidden linear layers.
    """
    deep, height, width = picture(input_shape)
    layers: list[nn.Module] = []
    for wide in channels:
        layers += [nn.Conv2d(deep, wide, 5, padding=2), nn.ReLU(), MaxPool2d()]
        deep, height, width = wide, height // 2, width // 2
    if min(height, width) < 1:
        raise BadShape(f"pictures of shape {input_shape} are too small for {len(channels)} poolings", fix="give fewer channels")
    size = deep * height * width
    layers.append(nn.Flatten())
    for wide in hidden:
        layers += [nn.Linear(size, wide), nn.ReLU()]
        size = wide
    return nn.Sequential(*layers, nn.Linear(size, classes))
