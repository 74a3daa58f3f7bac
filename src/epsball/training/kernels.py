"""Two sums of a training step with their derivatives written out.

Differentiated one operation at a time they cost as much as the convolutions around them on a CPU; here each is a few passes over
its tensor. Both give first derivatives only. The tests hold them against the plain formulas and finite differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

if TYPE_CHECKING:
    from epsball.forms.interval import Interval
    from epsball.types import Tensor


class NormalisedBatch(NamedTuple):
    """A batch-normalised value, and the mean and biased variance of its channels."""

    value: Tensor
    mean: Tensor
    var: Tensor


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> NormalisedBatch:
    """Batch norm of (B, C, *n) with its own statistics, differentiable through all three results."""
    return NormalisedBatch(*cast("Any", _BatchNorm).apply(x, weight, bias, eps))


class States(NamedTuple):
    """Sums over the units of a layer: `width` is a mean, the others are sums over active or inactive units.

    With c the interval centres: `above` and `below` are sums of c, `above_spread` and `below_spread` of (c - mean c)^2;
    `active` and `inactive` count.
    """

    width: Tensor
    above: Tensor
    below: Tensor
    above_spread: Tensor
    below_spread: Tensor
    active: Tensor
    inactive: Tensor


def states(pre: Interval) -> States:
    """What the warm-up regularisers need of one layer's pre-activation bounds."""
    return States(*cast("Any", _States).apply(pre.lower, pre.upper))


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        value, mean, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return value, mean, (scale.square().reciprocal() - eps).clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        of_value, of_mean, of_var = grads
        grad, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            of_value, x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
        )
        count = x.numel() // x.shape[1]
        shape = (-1, *(1,) * (x.dim() - 2))
        slope = of_var * (2 / count)
        offset = of_mean / count - slope * mean
        return grad.addcmul_(x, slope.view(shape)).add_(offset.view(shape)), of_weight, of_bias, None


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
        active, inactive = ((lower > 0).to(lower.dtype).flatten(), (upper < 0).to(lower.dtype).flatten())
        centre = torch.lerp(lower, upper, 0.5).flatten()
        width = upper.mean() - lower.mean()
        counts = active.sum(), inactive.sum()
        mean = centre.mean()
        above, below = active.dot(centre), inactive.dot(centre)
        offset = centre.sub_(mean)
        up, down = active * offset, inactive * offset
        ctx.save_for_backward(active, inactive, up, down, above - counts[0] * mean, below - counts[1] * mean)
        ctx.shape = lower.shape
        ctx.mark_non_differentiable(*counts)
        return width, above, below, up.dot(offset), down.dot(offset), *counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        active, inactive, up, down, up_sum, down_sum = ctx.saved_tensors
        width, above, below, above_spread, below_spread, *_ = grads
        # with respect to the centre, halved: it is the mean of both ends
        each = active * (0.5 * above)
        each.addcmul_(inactive, 0.5 * below).addcmul_(up, above_spread).addcmul_(down, below_spread)
        shared = (above_spread * up_sum + below_spread * down_sum) / len(active)
        wide = width / len(active)
        return (each - (shared + wide)).view(ctx.shape), (each - (shared - wide)).view(ctx.shape)
