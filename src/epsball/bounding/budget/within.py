"""Bounds within a memory budget: what a run takes, and the same bounds in parts that fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.bounding.base import Bounder, Direct
from epsball.bounding.budget import methods  # noqa: F401 - registers what they take
from epsball.bounding.budget.cost import FORM, Facts, Need, TooLarge, limited, need, readable, work
from epsball.forms.interval import Interval
from epsball.problem.problem import Budget
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet


_SLACK = 96 * 2**20  # freed blocks that the allocator keeps: at most half of a budget is left for them


@dataclass(frozen=True)
class Cost:
    """What a bound takes, before it runs. Upper bounds, but for rounding errors of an estimate: see docs/how-to/memory.md.

    Attributes:
        bytes: peak memory above the network itself.
        samples: how many are bounded at once.
        parts: how many times.
        rows: linear forms that are pulled back (or columns carried forward), over all samples.
        passes: arithmetic, in plain forward passes of one sample.
        least: bytes below which not even one row of one sample fits.
    """

    bytes: int
    samples: int
    parts: int
    rows: int
    passes: float
    least: int

    def __str__(self) -> str:
        return (
            f"{readable(self.bytes)}, {self.parts} part{'s' * (self.parts > 1)} of {self.samples} samples, "
            f"{self.rows:,} rows, about {self.passes:,.0f} forward passes of one sample"
        )


def estimate(
    network: Prepared, input_set: InputSet, method: Bounder, *, rows: int | None = None, budget: Budget | None = None
) -> Cost:
    """Memory and arithmetic of a bound, without computing it; two forward passes of a few samples at most.

    Args:
        network: the prepared network.
        input_set: one set a sample.
        method: a bound method.
        rows: forms of the specification for each sample; the default is one a class.
        budget: its bytes are what the bound is cut to.

    Raises:
        BadConfig: the budget does not hold one row of one sample; the message says how many bytes it needs.
    """
    facts, count = Facts(network, input_set), rows if rows is not None else network.plan.graph.output_shape[0]
    plan = _plan(facts, method, count, (budget or Budget()).bytes)
    taken = work(method, facts, count)
    batch = len(input_set.centre)
    return Cost(
        bytes=plan.bytes,
        samples=plan.samples,
        parts=-(-batch // plan.samples),
        rows=math.ceil(taken.rows * batch),
        passes=taken.passes * batch,
        least=plan.least,
    )


@dataclass(frozen=True)
class Within:
    """A bound method, cut to fit a memory budget: over samples, and over the rows of each.

    Attributes:
        method: any bound method. One that does not say what it takes is counted as if it kept every form at every node.
        budget: its bytes count.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   as the method: samples and rows are bounded each for itself.   Complete: no.
    Cost:    that of the method.
    Raises:  BadConfig where the budget does not hold one row of one sample.
    """

    method: Bounder
    budget: Budget = field(default_factory=Budget)

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Float[Tensor, "P Q"]:
        """Lower bounds of linear forms of the output over the set."""
        method, samples = self.cut(network, input_set, len(rows.values))
        return self._bound(method, network, input_set, rows, samples)

    def output(self, network: Prepared, input_set: InputSet) -> Interval | None:
        """The interval of the output, where the method knows it without linear forms; some samples at once."""
        if not isinstance(self.method, Direct):
            return None
        _, size = self.cut(network, input_set, 1)
        parts = torch.split(torch.arange(len(input_set.centre), device=input_set.centre.device), size)
        found = [self.method.output(network, input_set.take(part)) for part in parts]
        if any(interval is None for interval in found):
            return None
        return Interval(*(torch.cat(ends) for ends in zip(*(i for i in found if i is not None), strict=True)))

    def cut(self, network: Prepared, input_set: InputSet, rows: int) -> tuple[Bounder, int]:
        """The method with its rows cut to the budget, and how many samples it may bound at once.

        Raises:
            BadConfig: the budget does not hold one row of one sample.
        """
        plan = _plan(Facts(network, input_set), self.method, rows, self.budget.bytes)
        return limited(self.method, plan.limit), plan.samples

    def _bound(self, method: Bounder, network: Prepared, input_set: InputSet, rows: Rows, size: int) -> Tensor:
        """Bounds of at most so many samples at once, and of fewer where those turn out to be too many."""
        batch = len(input_set.centre)
        if batch <= size:
            try:
                return method(network, input_set, rows)
            except TooLarge:
                if batch == 1:
                    raise
            size = -(-batch // 2)
        parts = torch.split(torch.arange(batch, device=rows.device), size)
        return torch.cat([self._bound(method, network, input_set.take(part), rows.take(part), size) for part in parts], 1)


@dataclass(frozen=True)
class _Plan:
    """How a bound is cut: samples at once, bytes of rows in flight, the peak this comes to, and the least that would do."""

    samples: int
    limit: int
    bytes: int
    least: int


def _plan(facts: Facts, method: Bounder, rows: int, limit: int) -> _Plan:
    network = facts.network
    told = need(method, facts, rows)
    takes = told or Need.cut(4 * facts.total, FORM * facts.widest, rows)
    size, batch = network.dtype.itemsize, max(1, len(facts.input_set.centre))
    fixed, one = size * 2 * facts.weights, size * (takes.sample + takes.row)
    least = math.ceil(fixed + one) + min(_SLACK, math.ceil(fixed + one))
    if told is not None and least > limit:
        raise TooLarge(type(method).__name__, least, limit)
    usable = limit - min(_SLACK, limit // 2)
    samples = min(batch, max(1, int((usable - fixed) / one)))
    spare = max(0.0, usable - fixed - samples * one)
    wanted = size * max(samples * takes.more, takes.flight)
    flight = samples * size * takes.row + spare
    taken = math.ceil(fixed + samples * one + min(spare, wanted))
    return _Plan(samples, int(flight), taken + min(_SLACK, taken), least)
