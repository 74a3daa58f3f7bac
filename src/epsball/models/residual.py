"""A small residual network (He et al. 2016, arXiv:1512.03385) for pictures of any size."""

from __future__ import annotations

from torch import Tensor, nn

from epsball.models.base import Shape, models
from epsball.models.convolutional import picture


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        same = stride == 1 and channels == wide
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, wide, H / stride, W / stride)."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


class GlobalMean(nn.Module):
    """The mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C)."""
        return x.mean((2, 3))


@models.register("resnet-small")
def resnet_small(input_shape: Shape, classes: int, *, width: int = 16, blocks: int = 1) -> nn.Module:
    """Three stages of residual blocks with batch norm, the last two halving the picture, then the mean of each channel.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        width: channels of the first stage; the next ones have twice and four times as many.
        blocks: of each stage.
    """
    channels, _, _ = picture(input_shape)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(3):
        wide = width * 2**stage
        for block in range(blocks):
            layers.append(ResidualBlock(channels, wide, 2 if stage and not block else 1))
            channels = wide
    return nn.Sequential(*layers, GlobalMean(), nn.Linear(channels, classes))
