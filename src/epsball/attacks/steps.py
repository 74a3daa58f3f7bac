"""One step of ascent on each kind of set, before it is projected back.

`share` is the step size as a share of the set's radius, from 1 down to 0. A set without a rule of its own is climbed as Frank and
Wolfe do: a share of the way to the point of the set where the linearised loss is largest.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from epsball.forms.rows import Rows
from epsball.problem.sets import Box, InputSet, LpBall, Patch, Product, Tabular, Transformed, WordSubstitution

if TYPE_CHECKING:
    from epsball.types import Float, Tensor


def farthest(input_set: InputSet, gradient: Float[Tensor, "B *x"]) -> Float[Tensor, "B *x"]:
    """The point of the set where `<gradient, .>` is largest: the derivative of the set's least linear form."""
    with torch.enable_grad():
        rows = -_scaled(gradient.detach())[None]
        least = input_set.minimise(Rows(rows.requires_grad_())).sum()
        (point,) = torch.autograd.grad(least, rows)
    return point[0]


@functools.singledispatch
def step(input_set: InputSet, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """The next point, not yet projected.

    Args:
        input_set: decides the rule; `step.register` takes one for another class.
        x: (B, *x) where the ascent stands.
        gradient: of the loss there.
        share: of the set's radius.
    """
    return torch.lerp(x, farthest(input_set, gradient), share)


@step.register(Box)
def _box(input_set: Box, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """The sign of the gradient, times each feature's own radius (Madry et al. 2018)."""
    lower, upper = input_set.hull()
    centre = input_set.centre
    return x + share * torch.maximum(upper - centre, centre - lower) * gradient.sign()


@step.register(LpBall)
def _ball(input_set: LpBall, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """L2: the gradient's direction. L1: Frank-Wolfe, for steepest ascent moves one feature. L0: the features that gain most."""
    if input_set.norm == "linf":
        return step(input_set.box, x, gradient, share)
    if input_set.norm == "l2":
        flat = _scaled(gradient).flatten(1)
        length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        return x + share * input_set.eps * (flat / length).view_as(gradient)
    if input_set.norm == "l1":
        return torch.lerp(x, farthest(input_set, gradient), share)
    return _sparse(input_set, x, gradient, share)


@step.register(Patch)
def _patch(input_set: Patch, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """The square that gains most, its values moved from where they are now."""
    return _sparse(input_set, x, gradient, share)


def _sparse(input_set: LpBall | Patch, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """The features that gain most, from where they are now; all others go back to the nominal input."""
    best = farthest(input_set, gradient)
    return torch.where(best != input_set.x, torch.lerp(x, best, share), input_set.x)


@step.register(Product)
def _product(input_set: Product, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """Each part by its own rule."""
    parts = [step(part, input_set.pick(x, k), input_set.pick(gradient, k), share) for k, (_, part) in enumerate(input_set.parts)]
    return input_set.join(parts)


@step.register(Tabular)
def _table(input_set: Tabular, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """Numbers as in a box, whole ones by at least one; a share of the categories, those that gain most, become the best value."""
    moved = step(input_set.box, x, gradient, share).flatten(1)
    best, at, slope = (t.flatten(1) for t in (farthest(input_set, gradient), x, gradient))
    whole = list(input_set.whole)
    moved[:, whole] = torch.where((moved - at).abs() >= 1, moved, at + slope.sign())[:, whole]
    if not input_set.groups:
        return moved.view_as(x)
    gains = torch.stack([((best - at) * slope)[:, list(group)].sum(1) for group in input_set.groups], 1)
    count = min(max(1, round(share * gains.shape[1])), gains.shape[1])
    chosen = torch.zeros_like(gains).scatter(1, gains.topk(count, 1).indices, 1.0) * (gains > 0)
    for k, group in enumerate(list(group) for group in input_set.groups):
        moved[:, group] = torch.where(chosen[:, k, None] > 0, best, at)[:, group]
    return moved.view_as(x)


@step.register(WordSubstitution)
def _words(input_set: WordSubstitution, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """A share of the words, those that gain most, become the best sentence's: between two words there is nothing."""
    best = farthest(input_set, gradient)
    gains = ((best - x) * gradient).sum(2)
    count = min(max(1, round(share * gains.shape[1])), gains.shape[1])
    chosen = torch.zeros_like(gains).scatter(1, gains.topk(count, 1).indices, 1.0) * (gains > 0)
    return torch.where(chosen[:, :, None] > 0, best, x)


@step.register(Transformed)
def _transformed(input_set: Transformed, x: Tensor, gradient: Tensor, share: float) -> Tensor:
    """The best picture of a grid of parameters, whatever the share: between two pictures there is nothing."""
    return input_set.farthest(gradient)


def _scaled(gradient: Tensor) -> Tensor:
    """Each sample's gradient divided by its largest element: squares of a tiny gradient underflow."""
    largest = gradient.flatten(1).abs().amax(1).clamp(min=torch.finfo(gradient.dtype).tiny)
    return gradient / largest.view(-1, *(1,) * (gradient.dim() - 1))
