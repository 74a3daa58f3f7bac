"""Noise symbols: which unknown each column of an affine form stands for, numbered over the whole network.

The bands of two units are independent unknowns, in whichever branches of a graph the units are: were they given one number, their
columns would cancel where the branches meet, and the form would be too narrow. So one counter numbers all symbols of a walk, a form
names the symbols that it has columns for, and forms of two walks cannot be brought together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

import torch

from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Span = tuple[int, int]


@dataclass(eq=False)
class Numbering:
    """The counter of one walk; it is its own identity."""

    count: int = field(default=0, init=False)

    def none(self) -> Symbols:
        """No symbols."""
        return Symbols(self, ())

    def fresh(self, count: int) -> Symbols:
        """So many symbols that no form has yet."""
        start, self.count = self.count, self.count + count
        return Symbols(self, ((start, self.count),) if count else ())


@dataclass(frozen=True, eq=False)
class Symbols:
    """The symbols of a form's columns, in ascending order.

    Attributes:
        numbering: that they are numbers of.
        spans: half-open ranges of numbers, ascending, none touching the next. A chain of layers has one, [0, g).
    """

    numbering: Numbering
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    def union(self, other: Symbols) -> Symbols:
        """The symbols that are in either.

        Raises:
            TypeError: they are numbers of two walks, where one number means two unknowns.
        """
        if self.numbering is not other.numbering:
            raise TypeError("noise symbols of two numberings: affine forms of one walk cannot be joined to those of another")
        if self.spans == other.spans:
            return self
        joined: list[Span] = []
        for start, stop in sorted(self.spans + other.spans):
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
            else:
                joined.append((start, stop))
        return Symbols(self.numbering, tuple(joined))

    def lay(self, columns: Float[Tensor, "B g *n"], wider: Symbols) -> Float[Tensor, "B h *n"]:
        """The columns of these symbols among those of a union that holds them: zero for the symbols that these are not."""
        if self.spans == wider.spans:
            return columns
        pieces, taken, own = list[Tensor](), 0, list(self.spans)
        for start, stop in wider.spans:
            at = start
            while own and own[0][0] < stop:
                first, last = own.pop(0)
                pieces += [
                    columns.new_zeros(len(columns), first - at, *columns.shape[2:]),
                    columns[:, taken : taken + last - first],
                ]
                taken, at = taken + last - first, last
            pieces.append(columns.new_zeros(len(columns), stop - at, *columns.shape[2:]))
        return torch.cat([piece for piece in pieces if piece.shape[1]], 1)


def union(all_symbols: Sequence[Symbols]) -> Symbols:
    """The symbols that are in any of several, at least one."""
    return reduce(Symbols.union, all_symbols)
