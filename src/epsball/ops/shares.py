"""Mixtures of two lower lines, one share for each row and unit: what alpha-CROWN optimises."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from epsball.forms.rows import node_flat
from epsball.ops.operator import Relaxed
from epsball.types import Bool, Float, Tensor

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.ops.lines import Lines

_DENSE = 0.5  # above this share of units with a choice, gathering them costs more than it saves


@dataclass(frozen=True, eq=False)
class Choice:
    """The lines of one node at the m units of each row that have a choice (padded with repeats), or at all its units.

    Attributes:
        index: (Q, m) flat units, or None for all.
        counted: (Q, m) 0 at repeats and else 1, or None without an index.
        start: (Q, m) shares to start from.
        flat: the lower slope is `flat + share * rise`.
        rise: see flat.
        ground: the lower bias is `ground + share * lift`; both None for 0.
        lift: see ground.
        upper: slope of the upper line.
        top: bias of the upper line; None for 0.
        through: (Q, *n) slope of all other units; None without an index.
    """

    index: Tensor | None
    counted: Tensor | None
    start: Tensor
    flat: Tensor
    rise: Tensor
    ground: Tensor | None
    lift: Tensor | None
    upper: Tensor
    top: Tensor | None
    through: Tensor | None

    @classmethod
    def over(cls, rows: Rows, bent: Bool[Tensor, "B *n"], start: Float[Tensor, "B *n"], flat: Lines, steep: Lines) -> Choice:
        """Lay one node's lines out for the rows that arrive at it.

        Args:
            rows: forms over the node.
            bent: units on which the operator is not exactly linear.
            start: shares to start from.
            flat: the lines at share 0.
            steep: the lines at share 1; the upper ones are those of `flat`.
        """
        mask = node_flat(rows.at(bent), 1)
        count = mask.sum(1)
        most = int(count.max()) if count.numel() else 0
        index = None if most > _DENSE * mask.shape[1] else _padded(mask, most)

        def lay(tensor: Tensor) -> Tensor:
            whole = node_flat(rows.at(tensor), 1)
            return whole if index is None else whole.gather(1, index)

        def both(ground: Tensor | None, high: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
            if ground is None and high is None:
                return None, None
            low = torch.zeros_like(start) if ground is None else ground
            return lay(low), lay((torch.zeros_like(start) if high is None else high) - low)

        top = None if flat.upper_bias is None else lay(flat.upper_bias)
        counted = None if index is None else (torch.arange(most, device=mask.device) < count[:, None]).to(start.dtype)
        rise = steep.lower_slope - flat.lower_slope
        own = (lay(start), lay(flat.lower_slope), lay(rise), *both(flat.lower_bias, steep.lower_bias), lay(flat.upper_slope), top)
        return cls(index, counted, *own, None if index is None else rows.at(flat.upper_slope))

    def detach(self) -> Choice:
        """The same lines without gradient."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: t.detach() for k, t in tensors.items() if t is not None})

    def at(self, share: Float[Tensor, "P Q m"]) -> Chosen:
        """The lines at given shares."""
        return Chosen(self, share)

    def take(self, values: Tensor) -> Float[Tensor, "P Q m"]:
        """The entries of `values` (P, Q, *n) at the units with a choice."""
        flat = node_flat(values, 2)
        return flat if self.index is None else flat.gather(2, self.index.expand(len(flat), -1, -1))

    def put(self, values: Tensor, chosen: Float[Tensor, "P Q m"]) -> Tensor:
        """All entries times their unit's slope, those at the units with a choice replaced."""
        if self.index is None or self.through is None:
            return chosen.view_as(values)
        if chosen.requires_grad and self.counted is not None:
            own = self.counted.clone()
            own[:, :1] = 1  # a row without a choice repeats its first unit only
            chosen = torch.where(own > 0, chosen, chosen.detach())  # a scatter's gradient would count repeats again
        flat = node_flat(values * self.through, 2)
        return flat.scatter(2, self.index.expand(len(flat), -1, -1), chosen).view_as(values)

    def lower(self, share: Tensor) -> Tensor:
        """Slope of the lower line."""
        return torch.addcmul(self.flat, share, self.rise)

    def base(self, share: Tensor) -> Tensor | None:
        """Bias of the lower line."""
        return None if self.ground is None or self.lift is None else torch.addcmul(self.ground, share, self.lift)

    def total(self, negative: Tensor, positive: Tensor, base: Tensor | None) -> Float[Tensor, "P Q"]:
        """The bias of each row: summed over units, each once."""
        gains = torch.zeros_like(negative) if self.top is None else negative * self.top
        if base is not None:
            gains = torch.addcmul(gains, positive, base)
        return (gains if self.counted is None else gains * self.counted).sum(-1)


def _padded(mask: Bool[Tensor, "Q N"], most: int) -> Tensor:
    """(Q, most) the places of each row's true entries, then its first one again (0 where it has none)."""
    index = mask.int().argmax(1, keepdim=True).repeat(1, most)
    row, place = mask.nonzero(as_tuple=True)
    index[row, mask.cumsum(1)[row, place] - 1] = place
    return index


@dataclass(frozen=True, eq=False)
class Chosen(Relaxed):
    """The lines of one node at given shares (P, Q, m)."""

    choice: Choice
    share: Tensor
    on_windows = True

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        if self.choice.upper.requires_grad:
            pulled, bias = _pull(rows.values, self.share, self.choice)[:2]
        else:
            pulled, bias = cast("Any", _Pull).apply(rows.values, self.share, self.choice)
        return (rows.like(pulled).cleaned(),), bias


def _pull(values: Tensor, share: Tensor, choice: Choice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    at = choice.take(values)
    negative = at.clamp(max=0)
    positive = at - negative
    lower = choice.lower(share)
    pulled = choice.put(values, torch.addcmul(positive * lower, negative, choice.upper))
    return pulled, choice.total(negative, positive, choice.base(share)), positive, lower


class _Pull(torch.autograd.Function):
    """`_pull` with its gradient in `values` and `share` written out: half the operations of the traced one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, share: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
        pulled, bias, positive, lower = _pull(values, share, choice)
        ctx.save_for_backward(positive, lower, share)
        ctx.choice = choice
        return pulled, bias

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (positive, lower, share), choice = ctx.saved_tensors, ctx.choice
        whole, bias = grads[0], grads[1][..., None]
        at = choice.take(whole)
        gain = at * choice.rise
        if choice.lift is not None:
            gain = torch.addcmul(gain, bias, choice.lift)
        to_share = positive * gain
        if not ctx.needs_input_grad[0]:
            return None, to_share, None
        below = positive > 0
        to_values = torch.where(below, lower, choice.upper) * at
        base = choice.base(share)
        if choice.top is not None or base is not None:
            zero = torch.zeros((), dtype=at.dtype, device=at.device)
            line = torch.where(below, zero if base is None else base, zero if choice.top is None else choice.top)
            to_values = torch.addcmul(to_values, line, bias)
        return choice.put(whole, to_values), to_share, None
