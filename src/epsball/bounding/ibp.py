"""Interval bound propagation (Gowal et al. 2018), with the specification pulled through the trailing affine operators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import in_parts
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import Pulled, pull_back
from epsball.forms.interval import Interval

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor

Intervals = dict[int, Interval]
_BYTES = 2**26  # of the specification where it is widest: with a thousand classes it is taken in parts
_COPIES = 8  # tensors of the widest node that are alive at once


def intervals(network: Prepared, box: Interval) -> Intervals:
    """The interval of every slot up to the frontier of the specification, by slot.

    Shapes:  box (B, *x); each result (B, *n).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    two forward passes.
    Paper:   Gowal et al. 2018, arXiv:1810.12715, Sec. 3.
    """
    return network.walk(interval, {0: box}, network.before_frontier)


def interval(step: Layer, args: list[Interval]) -> Interval:
    """A step's own interval rule."""
    return step.op.interval(*args)


def concretise(pulled: Pulled, losses: Losses) -> Tensor:
    """The least value of `sum <a_t, z_t> + bias` when each z_t ranges over its own interval: (P, Q)."""
    total = pulled.bias
    for slot, rows in pulled.terms:
        least = rows.minimum(*losses.stop(slot))
        total = least if total is None else total + least
    if total is None:
        raise ValueError("no terms to concretise")
    return unproven(total)


def unproven(bound: Tensor) -> Tensor:
    """Minus infinity where a bound is no number: outside an operator's domain nothing is proven."""
    return bound.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)


@bounders.register("ibp")
@dataclass(frozen=True)
class Ibp:
    """Interval bound propagation: two forward passes, one for the centre and one for the radius.

    Attributes:
        chunk_bytes: memory for the rows that are in flight at once.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    about two forward passes.
    Paper:   Gowal et al. 2018, arXiv:1810.12715.  Differs: elision for any trailing affine operators.
    """

    chunk_bytes: int = _BYTES

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        losses = Losses(network, _at_frontier(network, input_set.hull()))
        return in_parts(
            rows,
            network.tail_width,
            self.chunk_bytes,
            lambda part: concretise(pull_back(network, network.plan.output, part, {}, losses), losses),
        )

    def output(self, network: Prepared, input_set: InputSet) -> Interval | None:
        """The interval of the output by itself, where no form of it could be tighter; else None."""
        if not network.tail_is_direct:
            return None
        found = _at_frontier(network, input_set.hull())
        low, high = network.walk(interval, found, network.tail)[network.plan.output]
        return Interval(unproven(low), -unproven(-high))


def _at_frontier(network: Prepared, box: Interval) -> Intervals:
    """The intervals a specification reads: all others are let go after their last use, so memory is that of a forward pass."""
    found: Intervals = {0: box}
    last = {slot: index for index, step in enumerate(network.before_frontier) for slot in step.args}
    for index, step in enumerate(network.before_frontier):
        found[step.slot] = step.op.interval(*[found[slot] for slot in step.args])
        for slot in set(step.args):
            if last[slot] == index and slot not in network.frontier:
                del found[slot]
    return found
