"""What is known of a network over a set: an interval of every node, and two lines around every non-linear operator.

With it a form over any node is bounded by one walk to the input (Zhang et al. 2018, Theorem 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from epsball.bounding.ibp import Intervals, unproven
from epsball.bounding.linear.losses import Losses, weigh
from epsball.bounding.linear.walk import Pulled, pull_back
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.forms.rows import node_flat
from epsball.ops.operator import Nonlinear, Relaxed, Slope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Int, Tensor


@dataclass(frozen=True, eq=False)
class Known:
    """Intervals and lines of one prepared network over one set. Whoever builds it lets the two dictionaries grow, nobody later.

    Attributes:
        network: the prepared network; of another one, even with the same weights, it says nothing.
        input_set: one set a sample.
        found: the interval of each slot.
        relaxed: the lines of each non-linear slot.
        slope: how the lines were chosen.
        losses: what rounding takes from a form at each node.
    """

    network: Prepared
    input_set: InputSet
    found: Intervals
    relaxed: dict[int, Relaxed]
    slope: Slope = "adaptive"
    losses: Losses = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "losses", Losses(self.network, self.found))

    @classmethod
    def of(cls, network: Prepared, input_set: InputSet, found: Intervals, slope: Slope = "adaptive") -> Known:
        """With the lines that follow from the intervals."""
        known = cls(network, input_set, found, {}, slope)
        known.relaxed.update({step.slot: known.lines(step) for step in network.nonlinear if all(s in found for s in step.args)})
        return known

    def lines(self, step: Layer) -> Relaxed:
        """The lines of one non-linear step over the intervals of its arguments."""
        if not isinstance(step.op, Nonlinear):
            raise TypeError(f"{step.node.op} is affine")
        return step.op.relax(*[self.found[slot] for slot in step.args], slope=self.slope)

    def lower_bound(self, slot: int, rows: Rows, chosen: Mapping[int, Relaxed] | None = None) -> Tensor:
        """Pull forms from a slot to the input and minimise them over the set: (P, Q).

        Args:
            slot: of the node they are over.
            rows: the forms.
            chosen: lines to take at some slots instead of those that are known.
        """
        relaxed = self.relaxed if chosen is None else {**self.relaxed, **chosen}
        return self.minimum(pull_back(self.network, slot, rows, relaxed, self.losses))

    def minimum(self, pulled: Pulled) -> Tensor:
        """The least value over the set of forms that were pulled to the input, less what its sum may lose: (P, Q)."""
        total = pulled.bias
        for slot, form in pulled.terms:
            if self.input_set.is_box:
                least = form.minimum(*self.losses.stop(slot))
            else:
                lost = self.losses.room(slot, torch.zeros_like(self.input_set.centre))
                least = self.input_set.minimise(form) - weigh(form, lost)
            total = least if total is None else total + least
        if total is None:
            raise ValueError("the output does not depend on the input")
        return unproven(total)

    def take(self, index: Int[Tensor, " N"]) -> Known:
        """The same of some samples, in a given order; one may be taken more than once."""
        found = {slot: Interval(*(end[index] for end in ends)) for slot, ends in self.found.items()}
        return Known.of(self.network, self.input_set.take(index), found, self.slope)

    def split(self, slot: int, unit: int, sign: int) -> Known:
        """The same where one unit of a node (by its flat place) is at most 0 (`sign` -1) or at least 0 (`sign` 1), in every sample.

        Intervals of the nodes after it stay as they were: they hold on a part of the set, too.

        Raises:
            BadConfig: no such node or unit, or another sign.
        """
        if sign not in (-1, 1) or slot not in self.found or not 0 <= unit < self.found[slot].lower[0].numel():
            fix = "name a bounded node, one of its units, and 1 or -1"
            raise BadConfig(f"no half {sign} of unit {unit} of node {slot}", fix=fix)
        low, high = self.found[slot]
        ends = [node_flat(end, 1).clone() for end in (low, high)]
        if sign > 0:
            ends[0][:, unit].clamp_(min=0)
        else:
            ends[1][:, unit].clamp_(max=0)
        part = Interval(*(end.view_as(low) for end in ends))
        return Known.of(self.network, self.input_set, {**self.found, slot: part}, self.slope)

    def on(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        """The same bounds for a set within this one.

        Raises:
            BadConfig: another network, another number of samples, or a set that may leave this one.
        """
        if network is not self.network:
            raise BadConfig("these bounds are of another network", where="Given", fix="find them with the same prepared network")
        if input_set is not self.input_set:
            inner, outer = input_set.hull(), self.input_set.hull()
            same = inner.lower.shape == outer.lower.shape
            inside = same and bool((inner.lower >= outer.lower).all() and (inner.upper <= outer.upper).all())
            if not (self.input_set.is_box and inside):
                raise BadConfig(
                    "these bounds are of a set that does not hold this one",
                    where="Given",
                    fix="find them over a box that holds every set that they are used for, with as many samples",
                )
        found = {**self.found, 0: input_set.hull()}  # what is known of the nodes holds on a part of the set, too
        if slope == self.slope:
            return replace(self, input_set=input_set, found=found)
        return Known.of(network, input_set, found, slope)
