"""The residual networks of Fast-IBP (Shi et al. 2021): a wide ResNet and a ResNeXt, with batch norm and without pooling."""

from __future__ import annotations

import math

from torch import Tensor, nn

from epsball.models.base import Shape, models
from epsball.models.convolutional import picture

_HIDDEN = 512


class Residual(nn.Module):
    """`relu(body(x) + shortcut(x))`; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, body: nn.Module, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = body
        same = stride == 1 and channels == wide
        self.shortcut = nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, wide, 1, stride), nn.BatchNorm2d(wide))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, wide, H / stride, W / stride)."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


@models.register("wide-resnet")
def wide_resnet(input_shape: Shape, classes: int, *, width: int = 16, widen: int = 8) -> nn.Module:
    """Three residual blocks of two 3x3 convolutions, the last two halving the picture: `wide_resnet_8` of Shi et al. 2021.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        width: channels of the first convolution.
        widen: the blocks have `width * widen` times 1, 2 and 4 channels.
    """
    channels, _, _ = picture(input_shape)
    layers = _stem(channels, width)
    channels = width
    for stage in range(3):
        wide, stride = width * widen * 2**stage, 2 if stage else 1
        body = nn.Sequential(
            nn.Conv2d(channels, wide, 3, stride, 1), nn.BatchNorm2d(wide), nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1), nn.BatchNorm2d(wide),
        )  # fmt: skip
        layers.append(Residual(body, channels, wide, stride))
        channels = wide
    return _with_head(layers, channels, input_shape, classes)


@models.register("resnext")
def resnext(input_shape: Shape, classes: int, *, groups: int = 2, width: int = 32) -> nn.Module:
    """Three residual blocks of 1x1, grouped 3x3 and 1x1 convolutions, the last two halving the picture: `ResNeXt_2_32`.

    Paper: Shi et al. 2021 (arXiv:2103.17268); Xie et al. 2017 (arXiv:1611.05431).  Differs: the first convolution's kernel and
    channels, 3x3 and 64, are not published.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        groups: of the 3x3 convolution, the cardinality.
        width: channels of a group in the first block; each block doubles it and gives twice its grouped channels.
    """
    channels, _, _ = picture(input_shape)
    layers = _stem(channels, 64)
    channels = 64
    for stage in range(3):
        inner, stride = groups * width * 2**stage, 2 if stage else 1
        body = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=groups), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, 2 * inner, 1), nn.BatchNorm2d(2 * inner),
        )  # fmt: skip
        layers.append(Residual(body, channels, 2 * inner, stride))
        channels = 2 * inner
    return _with_head(layers, channels, input_shape, classes)


def _stem(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]


def _with_head(layers: list[nn.Module], channels: int, input_shape: Shape, classes: int) -> nn.Module:
    """Flatten, one hidden layer with batch norm, and the logits; two blocks have halved the picture, rounding up."""
    size = channels * math.prod(math.ceil(side / 4) for side in input_shape[1:])
    head = [nn.Flatten(), nn.Linear(size, _HIDDEN), nn.BatchNorm1d(_HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, classes)]
    return nn.Sequential(*layers, *head)
