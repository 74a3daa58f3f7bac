"""The convolutional networks of certified training: convolutions, one hidden linear layer, no pooling."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from epsball.errors import BadShape
from epsball.models.base import Shape, models


@dataclass(frozen=True)
class _Conv:
    channels: int
    kernel: int
    stride: int
    padding: int = 1

    def side(self, n: int) -> int:
        return (n + 2 * self.padding - self.kernel) // self.stride + 1


@models.register("cnn-small")
def cnn_small(input_shape: Shape, classes: int, *, batch_norm: bool = False) -> nn.Module:
    """Two strided convolutions: the small network of Wong and Kolter 2018 (arXiv:1711.00851).

    Args:
        input_shape: (C, H, W).
        classes: how many.
        batch_norm: after each convolution and the hidden layer, before their ReLU.
    """
    return _network(input_shape, classes, (_Conv(16, 4, 2), _Conv(32, 4, 2)), 100, batch_norm)


@models.register("cnn-5")
def cnn_5(input_shape: Shape, classes: int, *, width: int = 64, batch_norm: bool = True) -> nn.Module:
    """Three convolutions: CNN-5 of Mao et al., as CTRAIN uses it, at a fifth of CNN-7's arithmetic.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        width: channels of the first convolution.
        batch_norm: after each convolution and the hidden layer, before their ReLU.
    """
    convs = (_Conv(width, 3, 1), _Conv(width, 4, 2), _Conv(2 * width, 4, 2))
    return _network(input_shape, classes, convs, 512, batch_norm)


@models.register("cnn-7")
def cnn_7(input_shape: Shape, classes: int, *, width: int = 64, batch_norm: bool = True) -> nn.Module:
    """Five convolutions: CNN-7 of Shi et al. 2021 (arXiv:2103.17268); without batch norm the large one of Gowal et al. 2018.

    Args:
        input_shape: (C, H, W).
        classes: how many.
        width: channels of the first convolution; 32 is the narrow, 128 the wide one of the literature.
        batch_norm: after each convolution and the hidden layer, before their ReLU.
    """
    wide = 2 * width
    convs = (_Conv(width, 3, 1), _Conv(width, 3, 1), _Conv(wide, 3, 2), _Conv(wide, 3, 1), _Conv(wide, 3, 1))
    return _network(input_shape, classes, convs, 512, batch_norm)


def _network(input_shape: Shape, classes: int, convs: tuple[_Conv, ...], hidden: int, batch_norm: bool) -> nn.Module:
    channels, height, width = picture(input_shape)
    layers: list[nn.Module] = []
    for conv in convs:
        layers.append(nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, conv.padding))
        layers += [nn.BatchNorm2d(conv.channels)] if batch_norm else []
        layers.append(nn.ReLU())
        channels, height, width = conv.channels, conv.side(height), conv.side(width)
        if min(height, width) < 1:
            raise BadShape(f"pictures of shape {input_shape} are too small for this model", fix="choose mlp or resnet-small")
    layers += [nn.Flatten(), nn.Linear(channels * height * width, hidden)]
    layers += [nn.BatchNorm1d(hidden)] if batch_norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, classes))


def picture(input_shape: Shape) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises:
        BadShape: the inputs are not pictures.
    """
    if len(input_shape) != 3:
        raise BadShape(f"a convolutional model takes inputs (C, H, W), not {input_shape}", fix="choose mlp, or reshape the data")
    return input_shape[0], input_shape[1], input_shape[2]
