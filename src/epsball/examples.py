"""Labelled inputs as they are stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from epsball.errors import BadData, BadShape
from epsball.problem.labels import as_labels
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled inputs as they are stored: pictures as uint8, turned into floats in [0, 1] on the device, a batch at a time.

    Attributes:
        x: (N, *x), uint8 (0..255), floating point in the valid range, or int64: the numbers of words.
        y: (N,), integers of any type, which become int64.

    Raises:
        BadShape: inputs and labels do not fit, or labels that are not one integer an example.
        BadData: NaN or infinity.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.dim() < 2:
            raise BadShape(f"examples of shape {tuple(self.x.shape)}", fix="x is (N, *x), y is (N,) of integers")
        object.__setattr__(self, "y", as_labels(self.y, count=len(self.x)))
        if self.x.is_floating_point() and not bool(self.x.isfinite().all()):
            raise BadData("the data hold NaN or infinity", fix="remove such examples, or replace the values")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.x.shape[1:])

    def take(self, index: Tensor | slice) -> Examples:
        """Some of the examples."""
        return Examples(self.x[index], self.y[index])

    def inputs(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Inputs as floats: pictures divided by 255. Words stay whole numbers, for `Network.embed`."""
        x = self.x[index]
        return x.float() / 255 if x.dtype == torch.uint8 else x
