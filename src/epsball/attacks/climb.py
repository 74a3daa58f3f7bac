"""The cores of gradient ascent, without a check, and so without waiting for the device: what training and smoothing take.

`epsball.attacks.pgd.PGD` takes the same steps as `climb` on any set; it checks its input and its answer, and reads both back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.attacks.loss import losses

if TYPE_CHECKING:
    from collections.abc import Callable

    from epsball.attacks.pgd import PGD
    from epsball.forms.interval import Interval
    from epsball.types import Tensor


def climb(
    forward: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    box: Interval,
    attack: PGD,
    noise: Callable[[Tensor], Tensor],
) -> Tensor:
    """The inputs (B, *x) of least margin that one run of an attack finds, the nominal ones among them; without gradient.

    Args:
        forward: the network, (B, *x) to (B, K).
        x: nominal inputs.
        y: labels.
        box: around them.
        attack: its steps, loss and start count; it has one run and no targets.
        noise: gives uniform numbers in [0, 1] like a tensor, for a random start.
    """

    def margins(point: Tensor) -> Tensor:
        z = forward(point)
        return (z.gather(1, y[:, None]) - z).scatter(1, y[:, None], torch.inf).T

    with torch.no_grad():
        radius = torch.maximum(box.upper - x, x - box.lower)
        best, least = x, margins(x).amin(0)
        point = torch.lerp(box.lower, box.upper, noise(x)) if attack.start == "random" else x
        for share in attack.step_sizes():
            with torch.enable_grad():
                moved = point.detach().requires_grad_()
                there = margins(moved)
                (gradient,) = torch.autograd.grad(losses[attack.loss](there, None).sum(), moved)
            best, least = _worse(best, least, point, there.detach().amin(0))
            point = torch.clamp(point + share * radius * gradient.nan_to_num().sign(), box.lower, box.upper)
        return _worse(best, least, point, margins(point).amin(0))[0]


def ascend(
    objective: Callable[[Tensor, int], Tensor], start: Tensor, steps: int, move: Callable[[Tensor, Tensor, int], Tensor]
) -> Tensor:
    """Where a plain ascent ends, without gradient.

    Args:
        objective: of a point (B, *x) and the step's number: a scalar.
        start: (B, *x).
        steps: their number.
        move: the next point, of a point, the gradient there and the step's number.
    """
    point = start.detach()
    for step in range(steps):
        with torch.enable_grad():
            at = point.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(objective(at, step), at)
        point = move(point, gradient, step).detach()
    return point


def _worse(best: Tensor, least: Tensor, point: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """Whichever input has the lesser margin; NaN never has."""
    worse = margin < least
    return torch.where(worse.view(-1, *(1,) * (best.dim() - 1)), point, best), torch.where(worse, margin, least)
