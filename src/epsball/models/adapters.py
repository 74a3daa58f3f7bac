"""Layers around a network that was made elsewhere: pictures in its own layout, and two classes from one output."""

from __future__ import annotations

from torch import Tensor, nn

from epsball.ops.network import Network
from epsball.problem.property import check_threshold


class ChannelsLast(nn.Module):
    """Pictures (B, C, H, W) as (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same pixels, in another order."""
        return x.permute(0, 2, 3, 1)


class TwoClasses(nn.Module):
    """One output `y` as the logits `(threshold, y)`: class 1 where y is above the threshold, else class 0.

    Their cross-entropy at a threshold of 0 is the logistic loss of y, and their difference is exact in its sign.

    Args:
        scores: maps (B, *x) to (B, 1).
        threshold: of the answer.

    Raises:
        BadConfig: a threshold that is not finite.
    """

    def __init__(self, scores: nn.Module, threshold: float = 0.0) -> None:
        super().__init__()
        check_threshold(1, threshold)
        self.scores, self.threshold = scores, float(threshold)
        self.training = scores.training

    def forward(self, x: Tensor) -> Tensor:
        """Two logits (B, 2)."""
        y: Tensor = self.scores(x)
        return nn.functional.pad(y, (1, 0), value=self.threshold)


def of_classes(network: Network, threshold: float = 0.0) -> Network:
    """A classifier of at least two classes: the network itself, or one of one output with `TwoClasses` around it.

    Raises:
        BadConfig: a threshold beside several outputs, or one that is not finite.
    """
    if not check_threshold(network.classes, threshold):
        return network
    return Network.capture(TwoClasses(network.module, threshold), network.input_shape)
