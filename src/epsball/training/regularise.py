"""The two warm-up regularisers of Fast-IBP: tight bounds, and balanced ReLU states (Shi et al. 2021, Eq. 5 and 6).

Nothing is read back from the device, and an empty set of units gives a zero gradient, never NaN: the denominator is replaced
before the division, and the quotient after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from epsball.training.kernels import States
    from epsball.types import Tensor

_TINY = 1e-12


def tightness(first: Tensor, layers: list[States], tolerance: float) -> Tensor:
    """Mean over ReLUs of `relu(tau - E width_0 / E width_i) / tau`: no layer's bounds may be 1 / tau times as wide as the input's.

    Args:
        first: mean width of the box that the first layer sees.
        layers: one entry a ReLU, at least one.
        tolerance: tau.
    """
    ratios = first / torch.stack([layer.width for layer in layers]).clamp(min=_TINY)
    return (tolerance - ratios).relu().mean() / tolerance


def balance(layers: list[States], tolerance: float) -> Tensor:
    """Mean over ReLUs of `(relu(tau - alpha) + relu(tau - beta)) / tau`.

    alpha and beta compare what active and inactive units add to the mean and the variance of the interval centres, folded into
    (0, 1]. A layer without active or without inactive units adds nothing.
    """
    active = torch.stack([torch.stack((layer.above, layer.above_spread)) for layer in layers])
    inactive = torch.stack([torch.stack((-layer.below, layer.below_spread)) for layer in layers])
    both = torch.stack([(layer.active > 0) & (layer.inactive > 0) for layer in layers])[:, None]
    quotient = torch.where(both, active, 1.0) / torch.where(both, inactive, 1.0).clamp(min=_TINY)
    folded = torch.minimum(quotient, 1.0 / quotient.clamp(min=_TINY))
    return (tolerance - folded).relu().sum(1).mean() / tolerance
