"""A plane through one input or three: the classes that a network gives there, and the trace of the eps-balls in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from epsball.errors import BadConfig, BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epsball.ops.prepared import Prepared
    from epsball.types import Tensor

    Floats = NDArray[np.float64]

_BATCH = 1024
_MARGIN = 0.35  # of the triangle's extent, on each side


@dataclass(frozen=True, eq=False)
class Plane:
    """The points `origin + s u + t v`; u and v are orthonormal, so lengths in the plane are Euclidean.

    Attributes:
        origin: the first input, flat, float64.
        u, v: directions, flat.
        points: (N, 2) where the inputs lie: three, or the origin alone.
        shape: of one input.
    """

    origin: Floats
    u: Floats
    v: Floats
    points: Floats
    shape: tuple[int, ...]

    @classmethod
    def through(cls, inputs: Tensor) -> Plane:
        """The plane of three inputs (3, *x): the first is its origin, and the second lies on its first axis.

        Raises:
            BadData: the three lie on one line.
        """
        a, b, c = inputs.detach().cpu().double().flatten(1).numpy()
        spanned = _axes(b - a, c - a, 1 + float(np.abs(inputs.cpu().numpy()).max()))
        if spanned is None:
            raise BadData("the three inputs lie on one line: they span no plane", where="--index", fix="choose three other inputs")
        u, v = spanned
        points = np.array([[0.0, 0.0], [(b - a) @ u, 0.0], [(c - a) @ u, (c - a) @ v]])
        return cls(a, u, v, points, tuple(inputs.shape[1:]))

    @classmethod
    def along(cls, x: Tensor, first: Tensor, second: Tensor) -> Plane:
        """The plane through one input in two directions of its shape: the input is its origin, the first direction its first axis.

        Raises:
            BadData: one direction is zero, or they lie on one line.
        """
        a, b, c = (tensor.detach().cpu().double().flatten().numpy() for tensor in (x, first, second))
        spanned = _axes(b / max(float(np.linalg.norm(b)), 1e-300), c / max(float(np.linalg.norm(c)), 1e-300), 1.0)
        if spanned is None:
            raise BadData("two directions on one line span no plane", fix="choose two others")
        return cls(a, *spanned, np.zeros((1, 2)), tuple(x.shape))

    def window(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a square that holds the three inputs with some room around."""
        low, high = self.points.min(0), self.points.max(0)
        half = float((high - low).max()) * (0.5 + _MARGIN)
        x, y = (low + high) / 2
        return float(x - half), float(x + half), float(y - half), float(y + half)

    def trace(self, centre: Floats, eps: float, clip: tuple[float, float] | None) -> list[list[float]]:
        """The corners, in order, of what the plane shows of the linf ball around one of its points, cut to the valid range.

        Args:
            centre: (2,) the point.
            eps: radius; infinite for the valid range alone.
            clip: the valid range, or None.

        Returns:
            A convex polygon: exactly the points of the plane where every input coordinate keeps its limits.
        """
        directions = np.stack((self.u, self.v), 1)
        here = self.origin + directions @ centre
        room_up = np.full_like(here, eps)
        room_down = room_up.copy()
        if clip is not None:
            room_up, room_down = np.minimum(room_up, clip[1] - here), np.minimum(room_down, here - clip[0])
        normals = np.concatenate((directions, -directions))
        limits = np.concatenate((room_up, room_down)).clip(min=0.0)
        reach = 4.0 * float(np.abs(self.points).max()) + (2.0 * eps * len(here) if np.isfinite(eps) else 0.0)
        return [[float(x), float(y)] for x, y in half_planes(normals, limits, reach) + centre]


def _axes(along: Floats, across: Floats, scale: float) -> tuple[Floats, Floats] | None:
    """Two orthonormal directions, the first along the first vector; None where both lie on one line, up to 1e-9 of the scale."""
    length = float(np.linalg.norm(along))
    u = along / max(length, 1e-300)
    rest = across - (across @ u) * u
    rest -= (rest @ u) * u  # once more: the first pass loses digits where the vectors are nearly on one line
    t = float(np.linalg.norm(rest))
    return None if min(length, t) <= 1e-9 * scale else (u, rest / t)


def half_planes(normals: Floats, limits: Floats, reach: float) -> Floats:
    """The corners (N, 2) of the polygon `normals @ p <= limits` inside a square of half-width `reach`, in order.

    The most violated half-plane cuts the polygon until none is violated: as many cuts as the result has edges, at most.

    Args:
        normals: (M, 2).
        limits: (M,), none negative, so 0 is inside.
        reach: of the first square.
    """
    corners = reach * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    slack = 1e-9 * (1.0 + reach)
    for _ in range(len(normals)):
        over = (normals @ corners.T - limits[:, None]).max(1)
        worst = int(over.argmax())
        if over[worst] <= slack * max(1.0, float(np.linalg.norm(normals[worst]))):
            break
        corners = _cut(corners, normals[worst], float(limits[worst]))
    return corners


def _cut(corners: Floats, normal: Floats, limit: float) -> Floats:
    """What is left of a convex polygon on the inner side of one line."""
    kept: list[Floats] = []
    over = corners @ normal - limit
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if over[i] <= 0:
            kept.append(corners[i])
        if (over[i] > 0) != (over[j] > 0):
            share = over[i] / (over[i] - over[j])
            kept.append(corners[i] + share * (corners[j] - corners[i]))
    return np.array(kept).reshape(-1, 2)


def classes(network: Prepared, plane: Plane, resolution: int, window: tuple[float, float, float, float] | None = None) -> list[int]:
    """The class at the centre of each cell of a window of the plane, row after row from the bottom.

    Args:
        network: prepared; it is asked at the points as they are, inside the valid range or not.
        plane: where.
        resolution: cells a side, 8 to 1000.
        window: left, right, bottom and top; default: the plane's own.

    Raises:
        BadConfig: another resolution.
    """
    if not 8 <= resolution <= 1000:
        raise BadConfig(f"a resolution of {resolution}", where="--resolution", fix="use 8 to 1000 cells a side")
    left, right, bottom, top = window or plane.window()
    steps = (np.arange(resolution) + 0.5) / resolution
    s, t = np.meshgrid(left + steps * (right - left), bottom + steps * (top - bottom))
    places = np.stack((s.ravel(), t.ravel()), 1)
    found: list[int] = []
    with torch.no_grad():
        for start in range(0, len(places), _BATCH):
            part = places[start : start + _BATCH]
            x = plane.origin + part[:, :1] * plane.u + part[:, 1:] * plane.v
            batch = torch.from_numpy(x.reshape(-1, *plane.shape)).to(network.device, network.dtype)
            found += network.forward(batch).argmax(1).tolist()
    return found
