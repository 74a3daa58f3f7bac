"""A denoiser: pictures to pictures, to stand in front of a classifier that never saw noise."""

from __future__ import annotations

from torch import Tensor, nn

from epsball.models.base import Shape, models
from epsball.models.convolutional import picture


class SubtractedNoise(nn.Module):
    """`x - noise(x)`: what is learned is the noise."""

    def __init__(self, noise: nn.Module) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        out: Tensor = x - self.noise(x)
        return out


@models.register("denoiser")
def denoiser(input_shape: Shape, classes: int, *, width: int = 32, depth: int = 6) -> nn.Module:
    """3x3 convolutions that predict the noise, with batch norm and ReLU between them: DnCNN (Zhang et al. 2017, arXiv:1608.03981).

    The published one has width 64 and depth 17. It is no classifier: train it with the recipe "denoise".

    Args:
        input_shape: (C, H, W).
        classes: of the classifier behind it; it has none itself.
        width: channels of every convolution but the last.
        depth: number of convolutions, the first and the last included.
    """
    channels, _, _ = picture(input_shape)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return SubtractedNoise(nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1)))
