"""The geometry of a ball that is cut by a box, for each norm: how far it reaches, its least linear form, its nearest point.

All work on displacements d from the ball's own x: `||d|| <= eps` and `low <= d <= high`, flat. The box may leave x out, as the
halves of a split ball do; what an element must move at least, `forced = clamp(0, low, high)`, is then spent already.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch

from epsball.types import Tensor

_BISECTIONS = 60


class Geometry(Protocol):
    """One norm. Shapes: low, high, move (B, d); a (P, Q, d) with low, high (Q, d)."""

    def reach(self, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """The largest |d_i| of each element over the set."""
        ...

    def least(self, a: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """The least `<a, d>`, exact up to rounding, from below (P, Q); its derivative is the d where it is attained."""
        ...

    def nearest(self, move: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """The nearest displacement of the set."""
        ...

    def draw(self, low: Tensor, high: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        """A random displacement, yet to be put into the box."""
        ...


def forced(low: Tensor, high: Tensor) -> Tensor:
    """What each element must move at least."""
    return torch.minimum(torch.maximum(torch.zeros_like(low), low), high)


def _uniform(like: Tensor, generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape or like.shape, generator=generator, dtype=like.dtype, device=like.device)


class L2:
    """Euclidean balls."""

    def reach(self, low: Tensor, high: Tensor, eps: float) -> Tensor:
        spent = forced(low, high).square()
        left = (eps * eps - spent.sum(-1, keepdim=True) + spent).clamp(min=0)
        return left.sqrt()

    def least(self, a: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """Minus the Lagrangian dual at a multiplier found exactly; any multiplier gives a sound bound.

        For any t > 0, `min <a, d> >= sum_i min_{low<=d<=high} (a d + d^2 / (2 t)) - eps^2 / (2 t)`, attained at
        `d = clamp(-t a, low, high)`.
        """
        if not torch.isfinite(low).any() and not torch.isfinite(high).any():
            length: Tensor = torch.linalg.vector_norm(a, dim=-1)
            return -eps * length
        with torch.no_grad():
            t = self._multiplier(a, low, high, eps)
        free = ~torch.isfinite(t)  # the box alone binds
        t = torch.where(free, 1.0, t).clamp(min=torch.finfo(a.dtype).tiny)
        d = torch.minimum(torch.maximum(-t * a, low), high)
        dual = (a * d).sum(-1) + (d.square().sum(-1) - eps * eps) / (2 * t.squeeze(-1))
        corner = torch.where(a > 0, low, high)
        inside = (a * torch.where(torch.isfinite(corner), corner, 0.0)).sum(-1)
        return torch.where(free.squeeze(-1), inside, dual)

    def _multiplier(self, a: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        if not bool((forced(low, high) != 0).any()):
            return scale_to_norm(a.abs(), torch.where(a > 0, -low, high), eps)
        corner = torch.where(a == 0, forced(low, high), torch.where(a > 0, low, high))
        fits = corner.square().sum(-1, keepdim=True) <= eps * eps
        start = eps / torch.linalg.vector_norm(a, dim=-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
        stop = torch.where((a != 0) & torch.isfinite(corner), corner.abs() / a.abs(), 0.0).amax(-1, keepdim=True)
        short, long = (start * 1e-6).log(), torch.maximum(stop, start).clamp(max=torch.finfo(a.dtype).max).log()
        for _ in range(_BISECTIONS):
            middle = (short + long) / 2
            d = torch.minimum(torch.maximum(-middle.exp() * a, low), high)
            within = d.square().sum(-1, keepdim=True) <= eps * eps
            short, long = torch.where(within, middle, short), torch.where(within, long, middle)
        return torch.where(fits, math.inf, short.exp())

    def nearest(self, move: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """`Project, then clamp` is not it: the multiplier is found with the clamp in place."""
        if not bool((forced(low, high) != 0).any()):
            size, room = move.abs(), torch.where(move < 0, -low, high)
            scale = scale_to_norm(size, room, eps).clamp(max=1)
            moved = torch.copysign(torch.minimum(scale * size, room), move)
            length: Tensor = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
            return moved * (eps / length.clamp(min=torch.finfo(move.dtype).tiny)).clamp(max=1)
        short, long = torch.zeros_like(move[:, :1]), torch.ones_like(move[:, :1])
        whole = torch.minimum(torch.maximum(move, low), high)
        fits = whole.square().sum(-1, keepdim=True) <= eps * eps
        for _ in range(_BISECTIONS):
            middle = (short + long) / 2
            d = torch.minimum(torch.maximum(middle * move, low), high)
            within = d.square().sum(-1, keepdim=True) <= eps * eps
            short, long = torch.where(within, middle, short), torch.where(within, long, middle)
        return torch.where(fits, whole, torch.minimum(torch.maximum(short * move, low), high))

    def draw(self, low: Tensor, high: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        noise = torch.randn(low.shape, generator=generator, dtype=low.dtype, device=low.device)
        length = eps * _uniform(low, generator, len(low), 1) ** (1 / low.shape[1])
        size: Tensor = torch.linalg.vector_norm(noise, dim=1, keepdim=True)
        return noise / size * length


class L1:
    """Balls of the sum of absolute values: what moves first is what counts most (a fractional knapsack)."""

    def reach(self, low: Tensor, high: Tensor, eps: float) -> Tensor:
        spent = forced(low, high).abs()
        return (eps - spent.sum(-1, keepdim=True) + spent).clamp(min=0)

    def least(self, a: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """The dual at the knapsack's price: `<a, forced> - price left - sum max(|a| - price, 0) room`, sound at any price >= 0."""
        must = forced(low, high)
        left = (eps - must.abs().sum(-1, keepdim=True)).clamp(min=0)
        room = torch.minimum(torch.where(a > 0, must - low, high - must), left)
        size = a.abs()
        order = size.argsort(-1, descending=True)
        full = room.gather(-1, order).cumsum(-1) >= left
        critical = order.gather(-1, full.to(torch.int8).argmax(-1, keepdim=True))
        price = torch.where(full.any(-1, keepdim=True), size.gather(-1, critical), 0.0)
        gain = price.squeeze(-1) * left.squeeze(-1) + ((size - price).clamp(min=0) * room).sum(-1)
        return (a * must).sum(-1) - gain

    def nearest(self, move: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        """Soft thresholding in the box, at the threshold that spends eps: exact, by sorting where elements start and stop."""
        must = forced(low, high)
        left = (eps - must.abs().sum(-1, keepdim=True)).clamp(min=0)
        size, room = (move - must).abs(), torch.where(move < must, must - low, high - must)
        events = torch.cat((size, size - room), -1).clamp(min=0)
        steps = torch.cat((torch.ones_like(size), -torch.ones_like(size)), -1)
        events, order = events.sort(-1, descending=True)
        slope = steps.gather(-1, order).cumsum(-1)  # elements that grow as the threshold falls below an event
        gaps = events - torch.cat((events[..., 1:], torch.zeros_like(events[..., :1])), -1)
        spent = (slope * gaps).cumsum(-1)  # at the next event
        over = spent > left
        first = over.to(torch.int8).argmax(-1, keepdim=True)
        rest = (spent.gather(-1, first) - left) / slope.gather(-1, first).clamp(min=1)
        below = events.gather(-1, first) - gaps.gather(-1, first)
        threshold = torch.where(over.any(-1, keepdim=True), below + rest, 0.0)
        grown = torch.minimum((size - threshold).clamp(min=0), room)
        total = grown.sum(-1, keepdim=True).clamp(min=torch.finfo(move.dtype).tiny)
        return must + torch.copysign(grown * (left / total).clamp(max=1), move - must)

    def draw(self, low: Tensor, high: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        weight = -(_uniform(low, generator).clamp(min=torch.finfo(low.dtype).tiny)).log()
        length = eps * _uniform(low, generator, len(low), 1) ** (1 / low.shape[1])
        sign = 1 - 2 * (_uniform(low, generator) < 0.5).to(low.dtype)
        return sign * weight / weight.sum(1, keepdim=True) * length


class L0:
    """At most eps elements move, each anywhere in the box. Elements that must move count first."""

    def reach(self, low: Tensor, high: Tensor, eps: float) -> Tensor:
        must = forced(low, high) != 0
        may = must | (must.sum(-1, keepdim=True) < eps)
        return torch.where(may, torch.maximum(-low, high), 0.0)

    def least(self, a: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        gain = torch.minimum(a * low, a * high)
        must = forced(low, high) != 0
        best = -self._best(-gain, must, eps)[0]
        return best.sum(-1) + torch.where(must, gain, 0.0).sum(-1)

    def nearest(self, move: Tensor, low: Tensor, high: Tensor, eps: float) -> Tensor:
        there = torch.minimum(torch.maximum(move, low), high)
        must = forced(low, high) != 0
        values, index = self._best(move.square() - (move - there).square(), must, eps)
        chosen = must.scatter(-1, index, (values > 0) | must.gather(-1, index))
        return torch.where(chosen, there, 0.0)

    def draw(self, low: Tensor, high: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        order = _uniform(low, generator).argsort(-1)
        anywhere = low + (high - low) * _uniform(low, generator)
        return anywhere * torch.zeros_like(low).scatter(-1, order[:, : int(eps)], 1.0)

    def _best(self, gain: Tensor, must: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The largest positive gains among the elements that need not move, as many as are left: values and indices."""
        count = min(int(eps), gain.shape[-1])
        if not bool(must.any()):
            values, index = gain.topk(count, -1)
            return values.clamp(min=0), index
        values, index = torch.where(must, 0.0, gain).topk(count, -1)
        left = count - must.sum(-1, keepdim=True)
        return values.clamp(min=0) * (torch.arange(count, device=gain.device) < left), index


def scale_to_norm(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The s >= 0 with `||min(s * size, room)||_2 = eps`, along the last axis; infinity where no s reaches eps.

    The norm grows with s, and each element stops growing at `s = room / size`. Sorted by that point, the sums over stopped and
    growing elements are cumulative, and s follows in closed form: O(d log d).
    """
    stop = torch.where(size > 0, room / size.clamp(min=torch.finfo(size.dtype).tiny), math.inf)
    order = stop.argsort(dim=-1)
    stop = stop.gather(-1, order)
    stopped = torch.where(size > 0, room, 0.0).gather(-1, order).square()
    stopped = torch.where(torch.isfinite(stopped), stopped, 0.0).cumsum(-1)
    growing = size.gather(-1, order).square()
    growing = growing.flip(-1).cumsum(-1).flip(-1)  # sum over elements not stopped before this one
    before = torch.cat((torch.zeros_like(stopped[..., :1]), stopped[..., :-1]), -1)
    scale = ((eps * eps - before).clamp(min=0) / growing.clamp(min=torch.finfo(size.dtype).tiny)).sqrt()
    fits = (scale <= stop) & (growing > 0) & (before <= eps * eps)
    first = fits.to(torch.int8).argmax(-1, keepdim=True)
    found = scale.gather(-1, first)
    return torch.where(fits.any(-1, keepdim=True), found, math.inf)
