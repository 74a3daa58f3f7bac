"""Where the bounds of the hidden neurons come from: a source is an object, and any method takes any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch

from epsball.bounding.affine.forward import forward_intervals
from epsball.bounding.ibp import Intervals, intervals
from epsball.bounding.linear.known import Known
from epsball.bounding.linear.neurons import RowBounds, bounded, walked
from epsball.device import recycle_memory
from epsball.errors import BadConfig, did_you_mean
from epsball.ops.operator import Nonlinear, Slope

if TYPE_CHECKING:
    from epsball.forms.interval import Interval
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet

CHUNK_BYTES = 2**24  # rows in flight at once: small chunks stay in the cache, and their temporaries are recycled
Source = Literal["ibp", "forward", "crown", "tightest"]


class Intermediate(Protocol):
    """A source of intermediate bounds."""

    def __call__(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        """An interval of every slot that is read, and the lines of every non-linear one."""
        ...


@dataclass(frozen=True)
class FromIbp:
    """Interval bounds: two forward passes."""

    def __call__(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        return Known.of(network, input_set, intervals(network, input_set.hull()), slope)


@dataclass(frozen=True)
class FromForward:
    """Forward linear bounds, met with intervals: a forward pass for each input element."""

    def __call__(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        return Known.of(network, input_set, forward_intervals(network, input_set), slope)


@dataclass(frozen=True)
class Tightest:
    """Rows of their own for the neurons that non-linear operators read, layer by layer.

    Attributes:
        alone: rows at every neuron, and for those that a ReLU reads nothing but them (the others are met with intervals, so that
            no operator is left outside its domain). Otherwise intervals come first, rows are for the neurons that those leave
            unstable, and the better of the two counts.
        full: bound every neuron as well as the rows can: none leaves the walk when it is proven linear on the way.
        chunk_bytes: memory for the rows in flight.
        rows_of: how rows are bounded.
    """

    alone: bool = False
    full: bool = False
    chunk_bytes: int = CHUNK_BYTES
    rows_of: RowBounds = walked

    def __call__(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        recycle_memory(network.device)
        known = Known(network, input_set, {0: input_set.hull()}, {}, slope)
        for step in network.before_frontier:
            if isinstance(step.op, Nonlinear):
                for slot in step.args:
                    known.found[slot] = self.refine(known, step, slot)
                known.relaxed[step.slot] = known.lines(step)
            known.found[step.slot] = step.op.interval(*[known.found[slot] for slot in step.args])
        return known

    def refine(self, known: Known, step: Layer, slot: int) -> Interval:
        """Better bounds for one argument of a non-linear step."""
        before = known.found[slot]
        if _exact(known, slot):
            return before
        if self.full or self.alone:
            chosen = torch.ones_like(before.lower, dtype=torch.bool)
        elif isinstance(step.op, Nonlinear):
            chosen = ~step.op.settled(*[known.found[s] for s in step.args])[step.args.index(slot)]
        leaving = not (self.alone or self.full)
        better = bounded(known, step, slot, chosen, self.rows_of, self.chunk_bytes, leaving=leaving).of(before)
        return better if self.alone and isinstance(step.op, Nonlinear) and step.op.leak is not None else better.intersect(before)

    def every(self, known: Known) -> Intervals:
        """Known intervals, met with rows of their own for every neuron that a non-linear operator reads."""
        better = dict(known.found)
        for step in known.network.before_frontier:
            for slot in step.args if isinstance(step.op, Nonlinear) else ():
                if not _exact(known, slot):
                    chosen = torch.ones_like(known.found[slot].lower, dtype=torch.bool)
                    found = bounded(known, step, slot, chosen, self.rows_of, self.chunk_bytes, leaving=False)
                    better[slot] = found.of(known.found[slot]).intersect(known.found[slot])
        return better


@dataclass(frozen=True, eq=False)
class Given:
    """Bounds that are known already, such as those of a larger box, of another method, or of the node of a search.

    Attributes:
        known: of the same prepared network, over a set that holds every set it is used for.

    Raises: BadConfig when it is used for another network or a set that may leave the known one.
    """

    known: Known

    def __call__(self, network: Prepared, input_set: InputSet, slope: Slope) -> Known:
        return self.known.on(network, input_set, slope)


def named(source: Source | Intermediate, *, full: bool, chunk_bytes: int, rows_of: RowBounds = walked) -> Intermediate:
    """A source by its name; an object is itself.

    Raises:
        BadConfig: an unknown name.
    """
    if not isinstance(source, str):
        return source
    if source not in get_args(Source):
        names = get_args(Source)
        raise BadConfig(f"unknown source {source!r}", fix=did_you_mean(source, names) or f"use {', '.join(names)}, or an object")
    if source == "ibp":
        return FromIbp()
    if source == "forward":
        return FromForward()
    return Tightest(source == "crown", full, chunk_bytes, rows_of)


def _exact(known: Known, slot: int) -> bool:
    """Whether intervals lose nothing at a slot."""
    return slot == 0 or (known.input_set.is_box and slot in known.network.exact_on_boxes)
