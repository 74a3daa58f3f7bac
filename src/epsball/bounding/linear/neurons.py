"""The bounds of single neurons: one pair of rows each, as many at a time as the memory holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from epsball.bounding.linear.settled import Settled
from epsball.bounding.linear.walk import pull_back
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat
from epsball.forms.windows import Windows

if TYPE_CHECKING:
    from epsball.bounding.linear.known import Known
    from epsball.ops.prepared import Layer
    from epsball.types import Bool, Int, Tensor

_PROBE = 16  # rows of the first chunk, which shows what a row takes and where rows settle
PAIR = 8  # copies of a form while its pair is pulled through one operator


class RowBounds(Protocol):
    """How single neurons are bounded."""

    def __call__(self, known: Known, slot: int, rows: Rows, leave: Settled | None) -> tuple[Tensor, int]:
        """Lower bounds (2, M) of the pairs (z, -z) of single forms z over a slot, and the memory of one row in elements."""
        ...


def walked(known: Known, slot: int, rows: Rows, leave: Settled | None) -> tuple[Tensor, int]:
    """CROWN's: one walk to the input, which rows that are proven linear on the way leave."""
    pulled = pull_back(known.network, slot, rows, known.relaxed, known.losses, mirror=True, leave=leave)
    bounds = known.minimum(pulled)
    return bounds if leave is None else leave.join(bounds), pulled.widest


def bounded(
    known: Known, step: Layer, slot: int, chosen: Bool[Tensor, "B *n"], rows_of: RowBounds, chunk_bytes: int, *, leaving: bool
) -> Found:
    """Bounds of the chosen neurons of a slot that a step reads; the first few rows show how much memory one takes."""
    layout, where = (Windows, _by_place(chosen)) if chosen.dim() == 4 else (Rows, node_flat(chosen, 1).nonzero())
    x = known.input_set.centre
    where = _probe_first(where)
    parts, start = [x.new_zeros(2, 0)], 0
    size = max(1, min(_PROBE, chunk_bytes // (PAIR * max(known.network.sizes.values()) * x.element_size())))
    pays: dict[int, bool] = {}
    while start < len(where):
        part = where[start : start + size]
        rows = layout.units(part[:, 0], part[:, 1], chosen.shape[1:], x.dtype)
        bounds, widest = rows_of(known, slot, rows, Settled.of(step, known, slot, part, pays) if leaving else None)
        parts.append(bounds)
        start += size
        size = max(1, chunk_bytes // (PAIR * widest * x.element_size()))
    return Found(where, torch.cat(parts, 1))


@dataclass(frozen=True, eq=False)
class Found:
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
