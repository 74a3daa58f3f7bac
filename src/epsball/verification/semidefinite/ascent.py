"""First-order ascent on the semidefinite dual: L-BFGS over the logarithms of the multipliers, for one weight of the barrier.

A step that leaves the region where the Lagrangian is convex is halved, so every point on the way is a proof.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.verification.semidefinite.dual import Dual
    from epsball.verification.semidefinite.pace import Stopwatch

_MEMORY = 40
_HALVINGS = 40
_REACH = 3.0  # of one step, in logarithms
_BEYOND = 1.5  # a step is taken if one so much longer is inside: what comes too near to the edge takes many steps to leave it
_ENOUGH = 5e-4  # gain of one step, in parts of the gap at the centre


def climb(dual: Dual, x: Float[Tensor, " m"], weight: float, *, steps: int, pace: Stopwatch) -> Float[Tensor, " m"]:
    """Raise `bound + weight * barrier` from a point inside.

    Args:
        dual: of one form.
        x: strictly inside.
        weight: of the barrier.
        steps: at most.
        pace: of the time; what was reached when it says stop is returned.

    Returns:
        A point inside that is at least as good.
    """
    if steps == 0:
        return x
    signed = dual.signed
    theta = torch.where(signed, x.clamp(min=1e-300).log(), x)

    search = _Search(dual, weight)
    now = search.at(theta)
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        if now is None or pace.stop():
            break
        direction = _direction(past, now.slope)
        if float(direction @ now.slope) >= 0:
            past.clear()
            direction = _direction(past, now.slope)
        found = search.along(theta, direction, now)
        if found is None:
            break
        moved, reached = found
        turned = reached.slope - now.slope
        if float(moved @ turned) > 1e-14 * float(moved @ moved):
            past.append((moved, turned))
        theta, gain, now = theta + moved, now.loss - reached.loss, reached
        if gain < _ENOUGH * weight * dual.degree:
            break
    return torch.where(signed, theta.exp(), theta)


class _Point(NamedTuple):
    """Minus the objective and its slope."""

    loss: float
    slope: Float[Tensor, " m"]


@dataclass(frozen=True, eq=False)
class _Search:
    """The objective over logarithms."""

    dual: Dual
    weight: float

    def at(self, theta: Tensor) -> _Point | None:
        """None outside."""
        leaf = theta.detach().requires_grad_()
        with torch.enable_grad():
            found = self.dual.bound(torch.where(self.dual.signed, leaf.exp(), leaf))
            if found is None:
                return None
            loss = -(found[0] + self.weight * found[1])
            (slope,) = torch.autograd.grad(loss, leaf)
        return _Point(float(loss.detach()), slope)

    def inside(self, theta: Tensor) -> bool:
        return self.dual.bound(torch.where(self.dual.signed, theta.exp(), theta)) is not None

    def along(self, theta: Tensor, direction: Tensor, now: _Point) -> tuple[Tensor, _Point] | None:
        """The first step, halving by halving, that gains enough and stays clear of the edge."""
        rate = float(direction @ now.slope)
        length = min(1.0, _REACH / max(1e-300, float(direction.abs().max())))
        for _ in range(_HALVINGS):
            reached = self.at(theta + length * direction)
            enough = reached is not None and reached.loss <= now.loss + 1e-4 * length * rate
            if reached is not None and enough and self.inside(theta + _BEYOND * length * direction):
                return length * direction, reached
            length *= 0.4
        return None


def _direction(past: deque[tuple[Tensor, Tensor]], slope: Tensor) -> Tensor:
    """Minus the inverse Hessian, as the past steps show it, times the slope (two loops)."""
    if not past:
        length: Tensor = 2 * torch.linalg.vector_norm(slope)
        return torch.div(-slope, length.clamp(min=1e-300))
    q, shares = slope.clone(), []
    for moved, turned in reversed(past):
        share = (moved @ q) / (moved @ turned)
        shares.append(share)
        q -= share * turned
    moved, turned = past[-1]
    q *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(past, reversed(shares), strict=True):
        q += moved * (share - (turned @ q) / (moved @ turned))
    found: Tensor = -q
    return found
