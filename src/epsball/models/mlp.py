"""Fully connected networks."""

from __future__ import annotations

import math

from torch import nn

from epsball.models.base import Shape, models


@models.register("mlp")
def mlp(input_shape: Shape, classes: int, *, hidden: tuple[int, ...] = (256, 256), batch_norm: bool = False) -> nn.Module:
    """Linear layers with ReLU between them, for inputs of any shape.

    Args:
        input_shape: of one sample.
        classes: how many.
        hidden: widths of the hidden layers.
        batch_norm: after each hidden layer, before its ReLU.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for size in hidden:
        layers += [nn.Linear(width, size), *([nn.BatchNorm1d(size)] if batch_norm else []), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, classes))
