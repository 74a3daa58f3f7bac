"""What rounding may take from a form on its way back through a network, node by node (docs/explanation/rounding.md, Theorem 1).

A network evaluated in floating point is the exact one with each node k off by at most `D_k = gamma (|A_k| |h| + |b_k|)`. A form
pulled back through that perturbed network loses `|a_k| D_k` at each node, and the bound's own rounding loses the same with a gamma
of its own. Both are one vector a node, read once when a form passes: never a forward error of the whole network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import cache_blocks, node_sum
from epsball.ops.operator import Affine
from epsball.rounding import SLACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer, Prepared
    from epsball.types import Tensor


_MANY = 2**15  # numbers from which a product with a vector is faster than one by one


class Losses:
    """The losses of one network over one box. They are found when they are first asked for.

    Args:
        network: the prepared network.
        found: the interval of each slot as far as it is known; it may grow.
    """

    def __init__(self, network: Prepared, found: Mapping[int, Interval]) -> None:
        self._network, self._found = network, found
        self._rounding = network.rounding
        self._magnitudes: dict[int, Tensor] = {}
        self._losses: dict[int, Tensor | None] = {}

    def magnitude(self, slot: int) -> Tensor:
        """The largest absolute value of each element of a node (B, *n)."""
        if slot not in self._magnitudes:
            self._magnitudes[slot] = self._size(slot)
        return self._magnitudes[slot]

    def _size(self, slot: int) -> Tensor:
        if slot in self._found:
            found = self._found[slot]
            return found.upper if slot in self._network.positive else found.magnitude
        step = self._network.by_slot[slot]
        if self._rounding is None or not isinstance(step.op, Affine):
            raise TypeError(f"no interval of slot {slot}")
        terms = step.op.sums.value + SLACK
        return step.op.size(*map(self.magnitude, step.args)) * (1 + 2 * self._rounding.gamma(terms, terms))

    def passing(self, step: Layer) -> Tensor | None:
        """What a form over a step's result loses for each unit of its coefficients, or None."""
        if self._rounding is None:
            return None
        if step.slot not in self._losses:
            self._losses[step.slot] = self._loss(step)
        return self._losses[step.slot]

    def _loss(self, step: Layer) -> Tensor | None:
        """An affine step's own; where a relaxation before it scaled the form and the step only moves it, that rounding."""
        loss = step.op.loss(*map(self.magnitude, step.args)) if isinstance(step.op, Affine) else None
        if loss is None and self._rounding is not None and step.slot in self._network.read_bent:
            return self._rounding.gamma(0, SLACK) * self.magnitude(step.slot)
        return loss

    def joining(self, slot: int, rows: Rows) -> Tensor | None:
        """What the sum of two forms over one node loses (P, Q): one rounding of each coefficient."""
        if self._rounding is None:
            return None
        return weigh(rows, self._rounding.gamma(0, 2) * self.magnitude(slot))

    def stop(self, slot: int) -> tuple[Tensor, Tensor]:
        """Centre and radius of a node, the radius with what the sum over the node may lose."""
        centre, radius = self._found[slot].centre_radius()
        return centre, self.room(slot, radius)

    def room(self, slot: int, radius: Tensor) -> Tensor:
        """A radius with what a sum of products over the node may lose."""
        if self._rounding is None:
            return radius
        share = self._rounding.gamma(0, radius[0].numel() + self._rounding.running)
        return radius.add(self.magnitude(slot), alpha=2 * share)


def weigh(rows: Rows, weights: Tensor) -> Tensor:
    """`<|a|, w>` of each form (P, Q), for weights (B, *n) of at least 0."""
    values = rows.values
    if values.numel() >= _MANY and len(weights) == 1 and values.dim() == 3:  # one sample: a product with a vector
        return values.abs() @ weights[0]
    at, blocks = rows.at(weights), cache_blocks(values)
    if len(blocks) == 1:
        return _total(values * at)
    return torch.cat([_total(values[:, s] * at[s]) for s in blocks], 1)


def _total(terms: Tensor) -> Tensor:
    return node_sum(terms.abs() if terms.requires_grad else terms.abs_())
