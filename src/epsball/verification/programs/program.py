"""Linear programs without an objective, and the lower bound that any multipliers of their rows prove.

    minimise  c v + d   subject to   low <= A v <= high,   lower <= v <= upper

For every multiplier m of the rows, and every v that is feasible,

    c v = (c - A' m) v + m (A v) >= min over the box of (c - A' m) v + sum of (m low where m > 0, m high where m < 0).

So a solver is asked for good multipliers and never believed: its own objective value is not used. What rounding may do to our own
sums is subtracted (Higham 2002, Accuracy and Stability of Numerical Algorithms, Eq. 3.5).

A solver may end the process over a number that is not finite, and misreads very large ones. So no program holds any: what a row or
a box says with one is left out, and a program that says less has bounds that prove less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, np.dtype[np.float64]]
_UNIT = 2.0**-53
_ENDLESS = 1e20  # solvers take what is as large for infinity
_LARGEST = 1e15  # and a coefficient as large for an error


@dataclass(frozen=True, eq=False)
class Forms:
    """Affine functions of the variables.

    Attributes:
        matrix: (M, N) sparse, in rows.
        offset: (M,).
        lost: (M,) how far the form of a network that rounds may lie on either side of it.
    """

    matrix: Any
    offset: Array
    lost: Array

    def finite(self, row: int) -> bool:
        """Whether one row is made of numbers that a solver takes; if not, nothing is known of its least value."""
        start, end = self.matrix.indptr[row : row + 2]
        return bool(math.isfinite(self.offset[row] + self.lost[row]) and workable(self.matrix.data[start:end]))

    def cost(self, row: int, count: int) -> Array:
        """The coefficients of one row as a dense vector over all `count` variables."""
        found = np.zeros(count)
        start, end = self.matrix.indptr[row : row + 2]
        found[self.matrix.indices[start:end]] = self.matrix.data[start:end]
        return found


@dataclass(frozen=True, eq=False)
class Program:
    """Boxes of the variables and two-sided rows.

    Attributes:
        lower: (N,).
        upper: (N,).
        matrix: (M, N) sparse, in rows.
        low: (M,), minus infinity where a row has no lower end.
        high: (M,), likewise.
    """

    lower: Array
    upper: Array
    matrix: Any
    low: Array
    high: Array

    @classmethod
    def over(cls, lower: Array, upper: Array) -> Program:
        """A box."""
        lower, upper = _box(lower, upper)
        return cls(lower, upper, sparse.csr_matrix((0, len(lower))), np.zeros(0), np.zeros(0))

    @property
    def count(self) -> int:
        """How many variables."""
        return len(self.lower)

    def widened(self, lower: Array, upper: Array) -> Program:
        """More variables, which no row reads yet."""
        lower, upper = _box(lower, upper)
        lower, upper = np.concatenate((self.lower, lower)), np.concatenate((self.upper, upper))
        matrix = sparse.csr_matrix((self.matrix.data, self.matrix.indices, self.matrix.indptr), (len(self.low), len(lower)))
        return Program(lower, upper, matrix, self.low, self.high)

    def with_rows(self, matrix: Any, low: Array, high: Array) -> Program:
        """More rows; one with a number that a solver does not take is there and says nothing."""
        matrix, low, high = usable(matrix, low, high)
        stacked = sparse.vstack((self.matrix, matrix), format="csr") if len(self.low) else matrix
        return Program(self.lower, self.upper, stacked, np.concatenate((self.low, low)), np.concatenate((self.high, high)))

    @cached_property
    def _columns(self) -> tuple[Any, Any]:
        """The transposed matrix, and its magnitudes."""
        turned = self.matrix.T.tocsr()
        return turned, abs(turned)

    @cached_property
    def _reach(self) -> Array:
        """The size of each variable, of its finite ends."""
        lower, upper = (np.where(np.isfinite(end), np.abs(end), 0.0) for end in (self.lower, self.upper))
        found: Array = np.maximum(lower, upper)
        return found

    @cached_property
    def _endless(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        found: np.ndarray[Any, np.dtype[np.bool_]] = ~(np.isfinite(self.lower) & np.isfinite(self.upper))
        return found

    def reduced(self, cost: Array, multipliers: Array) -> tuple[Array, float, float]:
        """Reduced costs, what the rows give, and the size of all that was added up for both.

        A multiplier of a sign that its row cannot have (there is no such end) is set to 0: the others still prove a bound. Where a
        variable has no end on some side, a reduced cost whose sign may be rounding is no number: it proves nothing.
        """
        m = np.where(np.isfinite(multipliers), multipliers, 0.0)
        m = np.where(((m > 0) & np.isfinite(self.low)) | ((m < 0) & np.isfinite(self.high)), m, 0.0)
        ends = np.where(m > 0, self.low, np.where(m < 0, self.high, 0.0))
        turned, magnitudes = self._columns
        left = cost - turned @ m
        spread = np.abs(cost) + magnitudes @ np.abs(m)
        unsure = self._endless & (spread > 0) & ~(np.abs(left) > 2 * (len(m) + 2) * _UNIT * spread)
        left = np.where(unsure, math.nan, left)
        return left, float(m @ ends), float(spread @ self._reach + np.abs(m) @ np.abs(ends))

    def proven(self, cost: Array, offset: float, multipliers: Array, error: float = 0.0) -> float:
        """A lower bound of `cost v + offset` over all feasible v, whatever the multipliers: minus infinity if there is none.

        Args:
            cost: (N,).
            offset: added to it.
            multipliers: (M,) of the rows.
            error: relative, of the program's own numbers; what it may do is given away as well.
        """
        left, rows, size = self.reduced(cost, multipliers)
        at = np.where(left > 0, self.lower, self.upper)
        least = float(np.where(left == 0, 0.0, left) @ np.where(left == 0, 0.0, at)) + rows + offset
        return self.lowered(least, size + abs(offset), error)

    def lowered(self, value: float, size: float, error: float = 0.0) -> float:
        """A sum of terms of that size in all, less what rounding may do to it, twice over; minus infinity if not finite."""
        found = value - (2 * (self.count + 2 * len(self.low) + 8) * _UNIT + error) * size
        return found if math.isfinite(found) else -math.inf


def workable(cost: Array) -> bool:
    """Whether a solver may be given these coefficients of an objective."""
    return bool((np.abs(cost) < _ENDLESS).all())


def usable(matrix: Any, low: Array, high: Array) -> tuple[Any, Array, Array]:
    """The same rows, those empty and without ends that hold a coefficient which is no number, infinite or too large."""
    matrix = sparse.csr_matrix(matrix)
    row = np.repeat(np.arange(len(low)), np.diff(matrix.indptr))
    bad = np.zeros(len(low), dtype=bool)
    bad[row[~(np.abs(matrix.data) < _LARGEST)]] = True
    low, high = _ends(np.where(bad, -math.inf, low), np.where(bad, math.inf, high))
    if bad.any():
        kept = ~bad[row]
        matrix = sparse.csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), matrix.shape)
    return matrix, low, high


def _box(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Ends in their order: what rounding turned around holds nothing, and would prove anything."""
    lower, upper = _ends(lower, upper)
    return np.minimum(lower, upper), np.maximum(lower, upper)


def _ends(low: Array, high: Array) -> tuple[Array, Array]:
    """No end where it is none: not a number, or infinite to a solver on either side."""
    return np.where(np.abs(low) < _ENDLESS, low, -math.inf), np.where(np.abs(high) < _ENDLESS, high, math.inf)
