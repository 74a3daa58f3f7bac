"""Linear bounds inside a training step: CROWN with intermediate bounds from intervals, and the fused loss.

As in `margins`, no label is checked and nothing is read back from the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.bounding.ibp import concretise
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.forms.rows import Rows
from epsball.ops.operator import Nonlinear, Relaxed

if TYPE_CHECKING:
    from epsball.ops.operator import Slope
    from epsball.training.interval_pass import Bounded
    from epsball.types import Tensor


def relaxations(bounded: Bounded, slope: Slope = "adaptive") -> dict[int, Relaxed]:
    """The linear bounds of every non-linear step over its interval, by slot."""
    return {
        step.slot: step.op.relax(*[bounded.found[slot] for slot in step.args], slope=slope)
        for step in bounded.network.nonlinear
        if isinstance(step.op, Nonlinear)
    }


def linear_worst_logits(bounded: Bounded, y: Tensor, slope: Slope = "adaptive") -> Tensor:
    """Upper bounds (B, K) of `z_k - z_y`, 0 for the label itself: one backward pass of K - 1 rows a sample.

    Paper: Zhang et al. 2020, arXiv:1906.06316 (CROWN-IBP).
    """
    unit = _unit(bounded, y)
    classes = len(unit)
    others = (y + torch.arange(1, classes, device=y.device)[:, None]) % classes
    least = _least(bounded, Rows(unit[y] - unit[others]), relaxations(bounded, slope))
    return torch.zeros_like(least[:1]).expand(classes, -1).T.scatter(1, others.T, -least.T)


def fused_sum(bounded: Bounded, y: Tensor, slope: Slope = "adaptive") -> tuple[Tensor, Tensor, Tensor]:
    """Two upper bounds of `sum_k exp(z_k - z_y - c)`, and c, (B,) each: the fused one and that of intervals.

    With l and u interval bounds of w_k = z_k - z_y, exp(w) lies below its chord over [l, u]; the sum of the chords is one linear
    form of the output, which is bounded by one backward pass of one row a sample, whatever the number of classes. c is the largest
    u, without gradient: it only keeps the exponentials finite.

    Paper: Xu et al. 2020, arXiv:2002.12920, Sec. 3.3.
    """
    unit = _unit(bounded, y)
    forms = unit[:, None] - unit[y]
    ends = _least(bounded, Rows(torch.cat((forms, -forms))), {})
    low, high = ends[: len(unit)].T, -ends[len(unit) :].T
    shift = high.detach().amax(1)
    top = (high - shift[:, None]).exp()
    width = high - low
    wide = width > torch.finfo(width.dtype).eps
    safe = torch.where(wide, width, 1.0)
    chord = top * torch.where(wide, -torch.expm1(-safe) / safe, 1.0)
    form = unit[y] * chord.sum(1, keepdim=True) - chord
    greatest = -_least(bounded, Rows(form[None]), relaxations(bounded, slope))[0]
    fused = (top - chord * high).sum(1) + greatest
    # one class is the label itself, so the sum is at least exp(-c): rounding must not take it below
    return torch.maximum(fused, (-shift).exp().clamp(min=torch.finfo(fused.dtype).tiny)), top.sum(1), shift


def _unit(bounded: Bounded, y: Tensor) -> Tensor:
    return torch.eye(bounded.network.plan.graph.output_shape[0], dtype=bounded.network.dtype, device=y.device)


def _least(bounded: Bounded, rows: Rows, relaxed: dict[int, Relaxed]) -> Tensor:
    """Least values (P, B) of forms over the output."""
    pulled = pull_back(bounded.network, bounded.network.plan.output, rows, relaxed)
    return concretise(pulled, Losses(bounded.network, bounded.found))
