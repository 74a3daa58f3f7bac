"""Three ReLUs over an octahedron of their inputs: the vertices of the exact convex hull.

The inputs z of three units lie in `low <= D z <= high` for the 13 directions D of {-1, 0, 1}^3 up to sign. Cut by the planes
z_i = 0 that region falls into pieces on each of which three (leaky) ReLUs are linear, so the hull of {(z, f(z))} is the hull of the
pieces' vertices. Every vertex solves three of 29 equations with integer coefficients: it is found by trying all of them, without
any search that rounding could lead astray.

The ends are binary fractions, so all of this is done in whole numbers, and a vertex is rounded once, coordinate by coordinate: one
unit may be 10^10 times as large as another, and what is near for the first is far for the second.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from epsball.verification.programs.program import Array

_NEAR = 1e-12  # of the largest end: far above the rounding of a point in float64


def directions() -> Array:
    """(13, 3): the directions of {-1, 0, 1}^3 up to sign; the axes come first."""
    every = [d for d in product((1, 0, -1), repeat=3) if next((c for c in d if c), -1) > 0]
    return np.array(sorted(every, key=lambda d: (sum(map(abs, d)), tuple(-c for c in d))), dtype=float)


class _Planes(NamedTuple):
    """All ways to meet three planes in one point.

    Attributes:
        numbers: (T, 3) which planes.
        determinants: (T,) of their normals, whole numbers above 0.
        adjugates: (T, 3, 3) the inverses of their normals times the determinants, whole numbers.
    """

    numbers: np.ndarray
    determinants: Array
    adjugates: Array


@cache
def _planes() -> _Planes:
    normals = np.concatenate((directions(), directions(), np.eye(3)))  # at high, at low, through 0
    numbers = np.array(list(combinations(range(len(normals)), 3)))
    determinants = np.rint(np.linalg.det(normals[numbers]))
    regular = determinants != 0
    numbers, determinants = numbers[regular], determinants[regular]
    adjugates = np.rint(np.linalg.inv(normals[numbers]) * np.abs(determinants)[:, None, None])
    return _Planes(numbers, np.abs(determinants), adjugates)


def vertices(low: Array, high: Array) -> Array:
    """The vertices (V, 3) of an octahedron's pieces in the eight orthants, given its ends (13,), each exact but for one rounding.

    None if it is empty, or if an end is not finite.
    """
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return np.zeros((0, 3))
    near = _near(low, high)
    planes = _planes()
    low_, high_, unit = _whole(low, high)
    offsets = np.concatenate((high_, low_, np.zeros(3, dtype=object)))[planes.numbers[near]]
    times = planes.determinants[near].astype(int).astype(object)[:, None]
    points = np.einsum("tij,tj->ti", planes.adjugates[near].astype(int).astype(object), offsets)  # times its determinant
    values = points @ directions().astype(int).astype(object).T
    inside = ((values <= high_ * times) & (values >= low_ * times)).all(1)
    common = math.lcm(*{int(d) for d in planes.determinants})
    found = {tuple(p * (common // t)) for p, (t,) in zip(points[inside], times[inside], strict=True)}
    # a quotient of two whole numbers is rounded once, however long they are
    return np.array([[coordinate / (common * unit) for coordinate in p] for p in sorted(found)], dtype=float).reshape(-1, 3)


def _near(low: Array, high: Array) -> np.ndarray:
    """(T',) the meetings that may lie inside: all that do, and few others."""
    planes = _planes()
    offsets = np.concatenate((high, low, np.zeros(3)))
    points = np.einsum("tij,tj->ti", planes.adjugates / planes.determinants[:, None, None], offsets[planes.numbers])
    slack = _NEAR * float(np.abs(offsets).max())
    values = points @ directions().T
    return np.flatnonzero(((values <= high + slack) & (values >= low - slack)).all(1))


def _whole(low: Array, high: Array) -> tuple[np.ndarray, np.ndarray, int]:
    """The ends as whole multiples of one over a power of 2, and that power."""
    ratios = [[float(end).as_integer_ratio() for end in ends] for ends in (low, high)]
    unit = max(below for ends in ratios for _, below in ends)
    low_, high_ = (np.array([over * (unit // below) for over, below in ends], dtype=object) for ends in ratios)
    return low_, high_, unit
