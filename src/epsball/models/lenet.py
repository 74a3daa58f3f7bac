"""LeNet (LeCun et al. 1998) with ReLU and max-pooling: the small network that smoothing is compared on."""

from __future__ import annotations

from torch import nn

from epsball.errors import BadShape
from epsball.models.base import Shape, models
from epsball.models.convolutional import picture


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
        layers += [nn.Conv2d(deep, wide, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        deep, height, width = wide, height // 2, width // 2
    if min(height, width) < 1:
        raise BadShape(f"pictures of shape {input_shape} are too small for {len(channels)} poolings", fix="give fewer channels")
    size = deep * height * width
    layers.append(nn.Flatten())
    for wide in hidden:
        layers += [nn.Linear(size, wide), nn.ReLU()]
        size = wide
    return nn.Sequential(*layers, nn.Linear(size, classes))
