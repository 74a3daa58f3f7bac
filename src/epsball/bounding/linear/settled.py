"""Which neurons need no better bounds, and which leave the walk because they are proven linear on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import node_flat
from epsball.ops.elementwise import Elementwise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.bounding.ibp import Intervals
    from epsball.bounding.linear.known import Known
    from epsball.bounding.linear.losses import Losses
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer
    from epsball.types import Tensor

_WORTH = 1 / 2  # looking whether rows settle costs about half of what they cost from there on


@dataclass(eq=False)
class Settled:
    """Neurons that leave the walk: proven linear by the intervals of the nodes where their forms stand.

    Attributes:
        op: the elementwise operator that reads the neurons.
        before: (2, M) the ends of the neurons' intervals that are known already.
        losses: what the sum over a node loses where a form stands.
        found: the interval of each slot.
        pays: whether at least a half of the layer's first rows settled at a slot; later rows are looked at there only.
    """

    op: Elementwise
    before: Tensor
    losses: Losses
    found: Intervals
    pays: dict[int, bool]

    def __post_init__(self) -> None:
        self._left = torch.arange(self.before.shape[1], device=self.before.device)
        self._index: list[Tensor] = []
        self._bounds: list[Tensor] = []

    @classmethod
    def of(cls, step: Layer, known: Known, slot: int, where: Tensor, pays: dict[int, bool]) -> Settled | None:
        """None for an operator that no interval with width makes linear."""
        wide = Interval(where.new_ones(1), where.new_full((1,), 2))
        if not isinstance(step.op, Elementwise) or not bool(step.op.linear(wide)):
            return None
        ends = torch.stack([node_flat(end, 1)[where[:, 0], where[:, 1]] for end in known.found[slot]])
        return cls(step.op, ends, known.losses, known.found, pays)

    def __call__(self, forms: Mapping[int, Rows], bias: Tensor | None) -> Tensor | None:
        """The rows that go on."""
        here = next(iter(forms))
        if len(self._left) <= 1 or not self.pays.get(here, True) or any(slot not in self.found for slot in forms):
            return None
        bounds = bias
        for slot, form in forms.items():
            pair = form.mirrored() if len(form.values) == 1 else form  # on a branch without a relaxation forms are still single
            least = pair.minimum(*self.losses.stop(slot))
            bounds = least if bounds is None else bounds + least
        if bounds is None:
            return None
        low = torch.maximum(bounds[0], self.before[0, self._left])
        high = torch.minimum(-bounds[1], self.before[1, self._left])
        settled = self.op.linear(Interval(low, high))
        settled[0] = False  # one row at least goes all the way, so that what follows never meets an empty batch
        share = float(settled.sum()) / (len(settled) - 1)
        if not self.pays.setdefault(here, share >= _WORTH) or share < _WORTH:
            return None
        leaving, staying = settled.nonzero()[:, 0], (~settled).nonzero()[:, 0]
        self._index.append(self._left[leaving])
        self._bounds.append(bounds[:, leaving])
        self._left = self._left[staying]
        return staying

    def join(self, bounds: Tensor) -> Tensor:
        """The bounds of all neurons in their own order, given those of the ones that went all the way."""
        order = torch.cat([*self._index, self._left]).argsort()
        return torch.cat([*self._bounds, bounds], 1).index_select(1, order)
