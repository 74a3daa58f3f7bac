"""First-order ascent on the semidefinite dual: L-BFGS over the logarithms of the multipliers, for one weight of the barrier.

A step that leaves the region where the Lagrangian is convex is halved, so every point on the way is a proof.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import torch

from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.verification.sdp_dual import Dual

_MEMORY = 40
_REACH = 3.0  # of one step, in logarithms
_BEYOND = 1.5  # a step is taken if one so much longer is inside: what comes too near to the edge takes many steps to leave it
_ENOUGH = 5e-4  # gain of one step, in parts of the gap at the centre


def climb(dual: Dual, x: Float[Tensor, " m"], weight: float, *, steps: int, deadline: float) -> Float[Tensor, " m"]:
    """Raise `bound + weight * barrier` from a point inside.

    Args:
        dual: of one form.
        x: strictly inside.
        weight: of the barrier.
        steps: at most.
        deadline: of `time.monotonic`; what was reached by then is returned.

    Returns:
        A point inside that is at least as good.
    """
    if steps == 0:
        return x
    signed = dual.signed
    theta = torch.where(signed, x.clamp(min=1e-300).log(), x)

    def at(theta: Tensor) -> tuple[float, Tensor] | None:
        leaf = theta.detach().requires_grad_()
        with torch.enable_grad():
            found = dual.bound(torch.where(signed, leaf.exp(), leaf))
            if found is None:
                return None
            loss = -(found[0] + weight * found[1])
            (slope,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), slope

    def inside(theta: Tensor) -> bool:
        return dual.bound(torch.where(signed, theta.exp(), theta)) is not None

    now = at(theta)
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        if now is None or time.monotonic() > deadline:
            break
        direction = _direction(past, now[1])
        rate = float(direction @ now[1])
        if rate >= 0:
            past.clear()
            direction = _direction(past, now[1])
            rate = float(direction @ now[1])
        length, reached = min(1.0, _REACH / max(1e-300, float(direction.abs().max()))), None
        for _ in range(40):
            reached = at(theta + length * direction)
            if reached is not None and reached[0] <= now[0] + 1e-4 * length * rate and inside(theta + _BEYOND * length * direction):
                break
            length, reached = length * 0.4, None
        if reached is None:
            break
        moved, turned = length * direction, reached[1] - now[1]
        if float(moved @ turned) > 1e-14 * float(moved @ moved):
            past.append((moved, turned))
        theta, gain, now = theta + moved, now[0] - reached[0], reached
        if gain < _ENOUGH * weight * dual.degree:
            break
    return torch.where(signed, theta.exp(), theta)


def _direction(past: deque[tuple[Tensor, Tensor]], slope: Tensor) -> Tensor:
    """Minus the inverse Hessian, as the past steps show it, times the slope (two loops)."""
    if not past:
        return -slope / (2 * slope.norm()).clamp(min=1e-300)
    q, shares = slope.clone(), []
    for moved, turned in reversed(past):
        share = (moved @ q) / (moved @ turned)
        shares.append(share)
        q -= share * turned
    moved, turned = past[-1]
    q *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(past, reversed(shares), strict=True):
        q += moved * (share - (turned @ q) / (moved @ turned))
    return -q
