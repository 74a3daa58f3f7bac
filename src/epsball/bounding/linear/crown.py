"""CROWN: linear bounds pulled back to the input (Zhang et al. 2018), for any source of the intermediate bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

import torch

from epsball.bounding.affine.forward import columns, forward_intervals
from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import FORM, Need, Work, in_parts
from epsball.bounding.ibp import Intervals, intervals, unproven
from epsball.bounding.linear.losses import Losses, weigh
from epsball.bounding.linear.walk import Pulled, pull_back
from epsball.device import recycle_memory
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat
from epsball.forms.windows import Windows
from epsball.ops.activations.relu import LeakyRelu
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine, Nonlinear, Relaxed, Slope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.bounding.budget.cost import Facts
    from epsball.ops.prepared import Bound, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Bool, Int, Tensor

_WORTH = 1 / 2  # looking whether rows settle costs about half of what they cost from there on
_PROBE = 16  # rows of the first chunk, which shows what a row takes and where rows settle
Source = Literal["ibp", "forward", "crown", "tightest"]
_CHUNK_BYTES = 2**24  # rows in flight at once: small chunks stay in the cache, and their temporaries are recycled
_PAIR = 8  # copies of a form while its pair is pulled through one operator
_DENSE = 4  # chunks of memory for the rows of a specification: they are dense, and have no lists to keep
_LISTS = 60  # numbers kept for one neuron of the widest layer while its bounds are found


@bounders.register("crown")
@dataclass(frozen=True)
class Crown:
    """Backward linear bounds.

    Attributes:
        slope: the lower line of an unstable ReLU. "adaptive": 1 where u > -l, else 0; "same": the chord's own slope, which makes
            this Fast-Lin and the dual of Wong and Kolter; "zero" and "one".
        intermediate: where the bounds of the hidden neurons come from. "ibp": intervals (CROWN-IBP); "forward": forward linear
            bounds; "crown": this method alone at every neuron that a ReLU reads (the others are met with intervals, so that no
            operator is left outside its domain); "tightest": intervals first, this method for the neurons they leave unstable,
            and the better of the two.
        chunk_bytes: memory for the rows of one chunk of neurons; those of a specification may take four times as much.
        full: bound every neuron as well as the method can. Otherwise a ReLU that is proven stable on the way is left there: it is
            exact whatever its interval. Where that is looked for depends on the first rows of a layer, so that bounds of one set
            may differ in the fourth digit between batches and budgets; with `full` they do not.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    one backward pass of the rows; for "crown" and "tightest" one more for each bounded layer.
    Raises:  BadConfig for an unknown slope or source.
    Paper:   Zhang et al. 2018, arXiv:1811.00866, Thm 3.2.  Differs: the source of intermediate bounds is an argument.
    """

    slope: Slope = "adaptive"
    intermediate: Source = "tightest"
    chunk_bytes: int = _CHUNK_BYTES
    full: bool = False

    def __post_init__(self) -> None:
        if self.slope not in ("adaptive", "same", "zero", "one"):
            raise BadConfig(f"unknown slope {self.slope!r}", fix="use adaptive, same, zero or one")
        if self.intermediate not in ("ibp", "forward", "crown", "tightest"):
            raise BadConfig(f"unknown source {self.intermediate!r}", fix="use ibp, forward, crown or tightest")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        known = Known(network, input_set, *self.relax(network, input_set))
        size, output = FORM * max(network.sizes.values()), network.plan.output
        return in_parts(rows, size, _DENSE * self.chunk_bytes, lambda part: known.lower_bound(output, part))

    def need(self, facts: Facts, rows: int) -> Need:
        """Its memory: intervals, lines, and the rows in flight."""
        sample = 2 * facts.total + 4 * facts.bent + FORM * facts.widest
        if self.intermediate == "ibp":
            return Need.cut(sample, FORM * facts.widest, rows)
        if self.intermediate == "forward":
            return Need.cut(sample + columns(facts, fresh=False), FORM * facts.widest, rows)
        chunk = 3 * self.chunk_bytes / facts.network.dtype.itemsize
        return Need.cut(sample + _LISTS * facts.widest, _PAIR * facts.widest, rows, min(chunk, _PAIR * facts.widest * facts.bent))

    def work(self, facts: Facts, rows: int) -> Work:
        """Its arithmetic: a pair of rows for each neuron that is bounded, and the specification."""
        last = rows * facts.back(facts.network.plan.output)
        if self.intermediate == "ibp":
            return Work(rows, last + 2.5)
        if self.intermediate == "forward":
            return Work(rows, last + 2 * facts.inputs)
        sizes = facts.network.sizes
        counts = {s: sizes[s] for s in facts.unstable} if self.full or self.intermediate == "crown" else facts.unstable
        pairs = sum(2 * n * facts.back(slot) for slot, n in counts.items() if n)
        return Work(rows + 2 * sum(counts.values()), last + pairs + 2.5)

    def limited(self, limit: int) -> Self:
        """The same method with at most so many bytes of rows in flight."""
        return replace(self, chunk_bytes=max(1, min(self.chunk_bytes, limit // _DENSE)))

    def relax(self, network: Prepared, input_set: InputSet) -> tuple[Intervals, dict[int, Relaxed]]:
        """The interval of every slot that is read, and the linear bounds of every non-linear one."""
        if self.intermediate in ("ibp", "forward"):
            ibp = self.intermediate == "ibp"
            found = intervals(network, input_set.hull()) if ibp else forward_intervals(network, input_set)
            return found, {s.slot: _relax(s, found, self.slope) for s in network.nonlinear}
        recycle_memory(network.device)
        known = Known(network, input_set, {0: input_set.hull()}, {})
        for step in network.before_frontier:
            if isinstance(step.op, Nonlinear):
                for slot in step.args:
                    known.found[slot] = self._refine(known, step, slot)
                known.relaxed[step.slot] = _relax(step, known.found, self.slope)
            known.found[step.slot] = step.op.interval(*[known.found[slot] for slot in step.args])
        return known.found, known.relaxed

    def neurons(self, network: Prepared, input_set: InputSet) -> Intervals:
        """The interval of every slot, by rows of this method itself for all that a non-linear operator reads.

        With the sources "crown" and "tightest" these are the intermediate bounds; with another one they are found after those, and
        are never wider.
        """
        found, relaxed = self.relax(network, input_set)
        if self.intermediate in ("crown", "tightest"):
            return found
        known, better = Known(network, input_set, found, relaxed), dict(found)
        for step in network.before_frontier:
            for slot in step.args if isinstance(step.op, Nonlinear) else ():
                if slot and not (input_set.is_box and slot in network.exact_on_boxes):
                    every = torch.ones_like(found[slot].lower, dtype=torch.bool)
                    better[slot] = self._neurons(known, step, slot, every).of(found[slot]).intersect(found[slot])
        return better

    def _refine(self, known: Known, step: Bound, slot: int) -> Interval:
        """Better bounds for the arguments of one non-linear step."""
        before = known.found[slot]
        if slot == 0 or (known.input_set.is_box and slot in known.network.exact_on_boxes):
            return before
        if self.full or self.intermediate == "crown":
            chosen = torch.ones_like(before.lower, dtype=torch.bool)
        elif isinstance(step.op, Nonlinear):
            chosen = ~step.op.settled(*[known.found[s] for s in step.args])[step.args.index(slot)]
        better = self._neurons(known, step, slot, chosen).of(before)
        alone = self.intermediate == "crown" and isinstance(step.op, LeakyRelu)
        return better if alone else better.intersect(before)

    def _rows(self, known: Known, slot: int, rows: Rows, leave: Settled | None) -> tuple[Tensor, int]:
        """Lower bounds of the pairs (z, -z) of single forms z, and the memory of one row in elements."""
        pulled = pull_back(known.network, slot, rows, known.relaxed, known.losses, mirror=True, leave=leave)
        bounds = known.minimum(pulled)
        return bounds if leave is None else leave.join(bounds), pulled.widest

    def _neurons(self, known: Known, step: Bound, slot: int, chosen: Tensor) -> _Sparse:
        """One row pair a chosen neuron, as many at a time as the memory holds; the first few show how much one takes."""
        layout, where = (Windows, _by_place(chosen)) if chosen.dim() == 4 else (Rows, node_flat(chosen, 1).nonzero())
        x = known.input_set.centre
        where = _probe_first(where)
        parts, start = [x.new_zeros(2, 0)], 0
        size = max(1, min(_PROBE, self.chunk_bytes // (_PAIR * max(known.network.sizes.values()) * x.element_size())))
        pays: dict[int, bool] = {}
        while start < len(where):
            part = where[start : start + size]
            rows = layout.units(part[:, 0], part[:, 1], chosen.shape[1:], x.dtype)
            leave = Settled.of(step, known, slot, part, pays) if self.intermediate == "tightest" and not self.full else None
            bounds, widest = self._rows(known, slot, rows, leave)
            parts.append(bounds)
            start += size
            size = max(1, self.chunk_bytes // (_PAIR * widest * x.element_size()))
        return _Sparse(where, torch.cat(parts, 1))


@dataclass(frozen=True, eq=False)
class Known:
    """What is known while the layers are bounded one after the other: the two dictionaries grow.

    Attributes:
        found: the interval of each slot so far.
        relaxed: the linear bounds of each non-linear slot so far.
        losses: what rounding takes from a form at each node.
    """

    network: Prepared
    input_set: InputSet
    found: Intervals
    relaxed: dict[int, Relaxed]
    losses: Losses = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "losses", Losses(self.network, self.found))

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
    def of(cls, step: Bound, known: Known, slot: int, where: Tensor, pays: dict[int, bool]) -> Settled | None:
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


@dataclass(frozen=True, eq=False)
class _Sparse:
    """Bounds of some neurons: `where` (M, 2) sample and flat neuron, `bounds` (2, M) lower and minus upper."""

    where: Tensor
    bounds: Tensor

    def of(self, known: Interval) -> Interval:
        """The known interval with these neurons replaced."""
        index = (self.where[:, 0], self.where[:, 1])
        ends = [
            node_flat(end, 1).index_put(index, value).view_as(end)
            for end, value in ((known.lower, self.bounds[0]), (known.upper, -self.bounds[1]))
        ]
        return Interval.ordered(ends[0], ends[1])


@bounders.register("crown-ibp")
@dataclass(frozen=True)
class CrownIbp(Crown):
    """CROWN with intermediate bounds from intervals (Zhang et al. 2020, arXiv:1906.06316): one backward pass."""

    intermediate: Source = "ibp"


def _probe_first(where: Int[Tensor, "M 2"]) -> Int[Tensor, "M 2"]:
    """The same neurons, a few from all over the layer first."""
    if len(where) <= _PROBE:
        return where
    chosen = torch.zeros(len(where), dtype=torch.bool, device=where.device)
    chosen[:: -(-len(where) // _PROBE)] = True
    return torch.cat((where[chosen], where[~chosen]))


def _by_place(chosen: Bool[Tensor, "B C H W"]) -> Int[Tensor, "M 2"]:
    """(sample, flat neuron) of the chosen ones, those of one place after each other."""
    channels, size = chosen.shape[1], chosen[0, 0].numel()
    where = chosen.permute(0, 2, 3, 1).flatten(1).nonzero()
    place, channel = where[:, 1].div(channels, rounding_mode="floor"), where[:, 1].remainder(channels)
    return torch.stack((where[:, 0], channel * size + place), 1)


def _relax(step: Bound, found: Intervals, slope: Slope) -> Relaxed:
    if isinstance(step.op, Affine):
        raise TypeError(f"{step.node.op} is affine")
    return step.op.relax(*[found[slot] for slot in step.args], slope=slope)
