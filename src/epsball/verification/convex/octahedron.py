"""Three ReLUs over an octahedron of their inputs: the vertices of the exact convex hull.

The inputs z of three units lie in `low <= D z <= high` for the 13 directions D of {-1, 0, 1}^3 up to sign. Cut by the planes
z_i = 0 that region falls into pieces on each of which three (leaky) ReLUs are linear, so the hull of {(z, f(z))} is the hull of the
pieces' vertices. Every vertex solves three of 29 equations with integer coefficients and a determinant of at least 1: it is found
by trying all of them, without any search that rounding could lead astray.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from epsball.verification.convex.program import Array

_TOLERANCE = 1e-9  # points this near to the region, relative to its size, count as inside: the hull only grows


def directions() -> Array:
    """(13, 3): the directions of {-1, 0, 1}^3 up to sign; the axes come first."""
    every = [d for d in product((1, 0, -1), repeat=3) if next((c for c in d if c), -1) > 0]
    return np.array(sorted(every, key=lambda d: (sum(map(abs, d)), tuple(-c for c in d))), dtype=float)


class _Planes(NamedTuple):
    """All ways to meet three planes in one point: their numbers (T, 3) and the inverse of their normals (T, 3, 3)."""

    numbers: np.ndarray
    inverses: Array


@cache
def _planes() -> _Planes:
    normals = np.concatenate((directions(), directions(), np.eye(3)))  # at high, at low, through 0
    numbers = np.array(list(combinations(range(len(normals)), 3)))
    chosen = normals[numbers]
    regular = np.abs(np.linalg.det(chosen)) > 0.5  # determinants are integers
    return _Planes(numbers[regular], np.linalg.inv(chosen[regular]))


def vertices(low: Array, high: Array) -> Array:
    """The vertices (V, 3) of an octahedron's pieces in the eight orthants, given its ends (13,); none if it is empty."""
    planes = _planes()
    offsets = np.concatenate((high, low, np.zeros(3)))
    points = np.einsum("tij,tj->ti", planes.inverses, offsets[planes.numbers])
    slack = _TOLERANCE * max(1e-300, float(np.abs(high[:3]).max()), float(np.abs(low[:3]).max()))
    values = points @ directions().T
    inside = ((values <= high + slack) & (values >= low - slack)).all(1)
    found: Array = points[inside]
    if not len(found):
        return found
    _, first = np.unique(np.round(found / slack / 4), axis=0, return_index=True)
    kept: Array = found[np.sort(first)]
    return kept
