"""Linear and quadratic programs over one polytope, in float64: small, and judged by what they return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Inner = tuple[Array | None, float]
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class System:
    """`A x <= b`, `lower <= x <= upper`; rows of A have length 1 or are zero."""

    A: Array
    b: Array
    lower: Array
    upper: Array

    @classmethod
    def scaled(cls, A: Array, b: Array, lower: Array, upper: Array) -> System:
        """Rows divided by their lengths."""
        length = np.linalg.norm(A, axis=1)
        length = np.where(length > 0, length, 1.0)
        return cls(A / length[:, None], b / length, lower, upper)

    def excess(self, x: Array) -> float:
        """By how much a point breaks the constraints or leaves the box, at most."""
        return float(max((self.A @ x - self.b).max(), (self.lower - x).max(), (x - self.upper).max()))


def inner_point(system: System) -> Inner:
    """The centre of a largest ball in `A x <= b` and its radius, within the box: (None, -inf) where there is no point."""
    from scipy.optimize import linprog

    size = len(system.lower)
    reach = np.where(np.abs(system.A).any(1), 1.0, 0.0)
    wide = np.hstack((system.A, reach[:, None]))
    limits = [*zip(system.lower, system.upper, strict=True), (None, 1 + float((system.upper - system.lower).max()))]
    found = linprog(np.append(np.zeros(size), -1.0), A_ub=wide, b_ub=system.b, bounds=limits, method="highs")
    if found.x is None or found.status != 0:
        return None, -np.inf
    return np.clip(found.x[:-1], system.lower, system.upper), float(found.x[-1])


def least(system: System, a: Array, slack: float) -> tuple[float, Array]:
    """A lower bound of the least `<a, x>`, tight at the optimum, and the point where the solver found it.

    Of a form that is not finite nothing is known, and no solver is asked.
    """
    from scipy.optimize import linprog

    if not np.isfinite(a).all():
        return -np.inf, np.clip(np.zeros_like(system.lower), system.lower, system.upper)

    limits = np.stack((system.lower, system.upper), 1)
    found = linprog(a, A_ub=system.A, b_ub=system.b, bounds=limits, method="highs")
    corner = np.where(a > 0, system.lower, system.upper)
    bounds = [_dual(system, a, np.zeros(len(system.b)), slack)]
    if found.status == 0 and found.x is not None:
        bounds.append(_dual(system, a, np.maximum(-found.ineqlin.marginals, 0.0), slack))
        corner = np.clip(found.x, system.lower, system.upper)
    return max(bounds), corner


def _dual(system: System, a: Array, y: Array, slack: float) -> float:
    """`-<y, b + slack> + min over the box of <a + A' y, x>`, less what its own rounding can do."""
    reduced = a + system.A.T @ y
    corner = np.where(reduced > 0, system.lower, system.upper)
    value = float(reduced @ corner - y @ (system.b + slack))
    terms = np.abs(a) + np.abs(system.A).T @ y  # before they cancel: the error is in proportion to them, not to what is left
    size = float(terms @ np.abs(corner) + y @ (np.abs(system.b) + slack))
    return value - 4 * np.finfo(np.float64).eps * (len(a) + len(y)) * size


def nearest(system: System, point: Array, slack: float, inner: Array | None) -> Array:
    """The nearest point that keeps the constraints up to slack; the point itself where it does.

    Least-distance programming (Lawson and Hanson 1974, chapter 23): non-negative least squares on the constraints' normals.
    """
    from scipy.optimize import nnls

    if system.excess(point) <= slack:
        return point
    boxed = np.clip(point, system.lower, system.upper)
    if system.excess(boxed) <= slack:
        return boxed
    size = len(point)
    G = np.vstack((-system.A, np.eye(size), -np.eye(size)))
    h = np.concatenate((-system.b + system.A @ point, system.lower - point, point - system.upper))
    E, f = np.vstack((G.T, h[None])), np.append(np.zeros(size), 1.0)
    multipliers, _ = nnls(E, f, maxiter=30 * E.shape[1])
    residual = E @ multipliers - f
    moved = point - residual[:-1] / residual[-1] if abs(residual[-1]) > _TINY else boxed
    return _pulled_in(system, np.clip(moved, system.lower, system.upper), slack, inner)


def _pulled_in(system: System, point: Array, slack: float, inner: Array | None) -> Array:
    """What the solver left outside, moved towards an inner point until it is inside."""
    if inner is None or system.excess(point) <= slack / 2:
        return point
    out, into = system.A @ point - system.b, system.A @ inner - system.b
    share = np.where(out > 0, out / np.maximum(out - into, _TINY), 0.0)
    return point + min(1.0, float(share.max())) * (inner - point)


def hit_and_run(system: System, start: Array | None, directions: Array, shares: Array) -> Array:
    """A walk within the polytope: along each direction to a random point of its chord (Smith 1984)."""
    point = np.clip(np.zeros_like(system.lower) if start is None else start, system.lower, system.upper)
    G = np.vstack((system.A, np.eye(len(point)), -np.eye(len(point))))
    h = np.concatenate((system.b, system.upper, -system.lower))
    for direction, share in zip(directions, shares, strict=True):
        rate, room = G @ direction, np.maximum(h - G @ point, 0.0)
        ahead = np.min(room[rate > _TINY] / rate[rate > _TINY], initial=np.inf)
        behind = np.min(room[rate < -_TINY] / -rate[rate < -_TINY], initial=np.inf)
        if np.isfinite(ahead) and np.isfinite(behind):
            point = point + (share * (ahead + behind) - behind) * direction
    return point
