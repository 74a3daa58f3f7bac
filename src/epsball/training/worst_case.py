"""What a robust loss makes of the worst-case logits: cross-entropy, or the margin forms of the lecture on training.

A form takes (B, K) bounds of `z_k - z_y`, 0 for the label itself, and labels (B,); it returns the mean over the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional

from epsball.registry import Registry

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor


class Form(Protocol):
    """Monotone in every worst-case logit, so that a bound of the logits gives a bound of the loss."""

    def __call__(self, worst: Float[Tensor, "B K"], y: Int[Tensor, " B"]) -> Tensor:
        """The mean loss, a scalar."""
        ...


forms: Registry[Form] = Registry("form of the robust loss", verb="forms")


@forms.register("cross-entropy")
def cross_entropy(worst: Float[Tensor, "B K"], y: Int[Tensor, " B"]) -> Tensor:
    """`log sum_k exp(z_k - z_y)`."""
    return functional.cross_entropy(worst, y)


@forms.register("margin")
def margin(worst: Float[Tensor, "B K"], y: Int[Tensor, " B"]) -> Tensor:
    """`max_k relu(z_k - z_y)`: how far a wrong answer lies beyond the decision boundary, 0 for a right one."""
    return _violation(worst, y, 0.0)


@forms.register("hinge")
def hinge(worst: Float[Tensor, "B K"], y: Int[Tensor, " B"]) -> Tensor:
    """`max_k relu(1 + z_k - z_y)`: the margin form that asks for a margin of 1."""
    return _violation(worst, y, 1.0)


def _violation(worst: Tensor, y: Tensor, wanted: float) -> Tensor:
    others = worst.scatter(1, y[:, None], -torch.inf)
    return (wanted + others.amax(1)).relu().mean()
