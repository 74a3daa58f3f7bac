"""What an attack climbs: functions of the property's margins, so that labels, targets and any `C y + d > 0` are one case.

For `robust(label)` the margins are `y_label - y_k`, and cross-entropy is `log(1 + sum_k exp(-margin_k))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from epsball.registry import Registry

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor


class MarginLoss(Protocol):
    """A quantity that grows as the property comes nearer to being broken."""

    def __call__(self, margins: Float[Tensor, "R B"], row: Int[Tensor, " B"] | None) -> Float[Tensor, " B"]:
        """One number a sample.

        Args:
            margins: `C y + d`.
            row: None to break any row; else the row that each sample is to break: its target.
        """
        ...


losses: Registry[MarginLoss] = Registry("attack loss", verb="losses")


@losses.register("margin")
def margin(margins: Float[Tensor, "R B"], row: Int[Tensor, " B"] | None) -> Float[Tensor, " B"]:
    """Minus the least margin, or minus the target's (Carlini and Wagner 2017, arXiv:1608.04644, f6 without its clamp)."""
    return -margins.amin(0) if row is None else -margins.gather(0, row[None])[0]


@losses.register("cross-entropy")
def cross_entropy(margins: Float[Tensor, "R B"], row: Int[Tensor, " B"] | None) -> Float[Tensor, " B"]:
    """The log-odds `log sum exp(-margin)` of the label being wrong; with a target, the log-probability of the target.

    Cross-entropy is softplus of the log-odds, so both have the same steepest ascent. But where the network is sure, the
    derivative of cross-entropy underflows and an attack stands still; that of the log-odds does not.
    """
    if row is None:
        return torch.logsumexp(-margins, 0)
    others = torch.cat((torch.zeros_like(margins[:1]), -margins))
    return -margins.gather(0, row[None])[0] - torch.logsumexp(others, 0)
