"""A denoiser in front of a fixed classifier: smoothing for networks that were never trained on noise.

Paper:   Salman, Sun, Yang, Kapoor, Kolter 2020, arXiv:2003.01908.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import nn

from epsball.errors import BadConfig
from epsball.types import Tensor


class Denoised(nn.Module):
    """`classifier(denoiser(x))`, to be smoothed as one network.

    The classifier stays as it is: its parameters are frozen in place, and it remains in evaluation mode when the denoiser trains.

    Args:
        denoiser: noisy inputs (B, *x) to inputs of the same shape.
        classifier: inputs (B, *x) to logits (B, K).
    """

    def __init__(self, denoiser: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.classifier = classifier.eval().requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:
        """Set the denoiser's mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, *x) to (B, K)."""
        logits: Tensor = self.classifier(self.denoiser(x))
        return logits


def in_front(denoiser: nn.Module, classifier: nn.Module, input_shape: tuple[int, ...], where: str) -> Denoised:
    """Both as one network, once it is clear that the first gives what the second takes.

    Args:
        denoiser: see `Denoised`.
        classifier: likewise.
        input_shape: *x.
        where: the denoiser's place, for the message.

    Raises:
        BadConfig: the denoiser does not keep the shape of its inputs.
    """
    like = next(denoiser.parameters(), torch.zeros((), dtype=torch.float32))
    mode = denoiser.training
    try:
        with torch.no_grad():
            found = tuple(denoiser.eval()(like.new_zeros(1, *input_shape)).shape[1:])
    except RuntimeError as error:
        raise BadConfig(
            f"the denoiser does not take inputs of shape {input_shape}", where=where, fix="train it on the same data set"
        ) from error
    finally:
        denoiser.train(mode)
    if found != tuple(input_shape):
        raise BadConfig(
            f"no denoiser: it turns inputs of shape {tuple(input_shape)} into {found}", where=where, fix="use the model denoiser"
        )
    return Denoised(denoiser, classifier)
