"""Polytopes: linear constraints on the inputs, within a box."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch

from epsball.errors import BadData, BadShape
from epsball.forms.interval import Interval
from epsball.problem.sets import programs
from epsball.problem.sets.box import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epsball.forms.rows import Rows
    from epsball.types import Float, Tensor

_STEPS = 30  # of hit-and-run


def keeps(A: list[list[float]], b: list[float], x: list[float]) -> bool:
    """Whether `A x <= b`, in rationals."""
    point = [Fraction(value) for value in x]
    return all(
        sum(Fraction(a) * v for a, v in zip(row, point, strict=True)) <= Fraction(end) for row, end in zip(A, b, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Polytope:
    """Inputs of a box with `A x <= b`.

    Every point counts that keeps the constraints up to `slack`, which is what rounding may add: bounds hold for all of those.

    Args:
        A: (m, d) over flat features, or (B, m, d).
        b: (m,) or (B, m).
        box: of the same samples.

    Cost:    a linear program a row of `minimise` (milliseconds): for inputs of few features.
    Raises:  BadShape: A, b and box do not fit.  BadData: NaN or infinity, or no point keeps the constraints.
    """

    A: Tensor
    b: Tensor
    box: Box

    def __post_init__(self) -> None:
        batch, size = len(self.box.x), self.box.x[0].numel()
        rows = self.A.shape[-2] if self.A.dim() >= 2 else 0
        if self.A.shape not in ((rows, size), (batch, rows, size)) or self.b.shape not in ((rows,), (batch, rows)) or not rows:
            raise BadShape(
                f"constraints A {tuple(self.A.shape)} and b {tuple(self.b.shape)} on {batch} inputs of {size} features",
                fix="give A (m, d) and b (m,) over the flat features, or one of each a sample",
            )
        if not bool(torch.isfinite(self.A).all() & torch.isfinite(self.b).all()):
            raise BadData("a constraint holds NaN or infinity", fix="leave constraints out that are always kept")
        for sample, (inner, radius) in enumerate(self._inner):
            if inner is None or radius < -self._slack:
                raise BadData(
                    "an empty polytope: no input of the box keeps A x <= b",
                    where=f"sample {sample} of the batch",
                    fix="check the signs of A and b, and the box",
                )

    @functools.cached_property
    def _slack(self) -> float:
        size = 1 + float(torch.maximum(self.box.upper.abs(), self.box.lower.abs()).max())
        return size * (1e-9 if self.box.x.dtype == torch.float64 else 1e-6)

    def halfspaces(self) -> tuple[Tensor, Tensor]:
        """The constraints A (B, m, d) and b (B, m) of each sample in float64, b with the slack that counts as kept.

        Linear programs over networks take them beside the box.
        """
        batch, size = len(self.box.x), self.box.x[0].numel()
        A = self.A.double().expand(batch, -1, size)
        return A, self.b.double().expand(batch, -1) + self._slack * torch.linalg.vector_norm(A, dim=2)

    @functools.cached_property
    def _systems(self) -> list[programs.System]:
        """The constraints of each sample, in float64; each row scaled to length 1, so that slack is a distance."""
        batch, size = len(self.box.x), self.box.x[0].numel()
        A = self.A.detach().double().cpu().expand(batch, -1, size).numpy()
        b = self.b.detach().double().cpu().expand(batch, -1).numpy()
        lower, upper = (end.detach().double().cpu().flatten(1).numpy() for end in self.box.hull())
        return [programs.System.scaled(A[i], b[i], lower[i], upper[i]) for i in range(batch)]

    @functools.cached_property
    def _inner(self) -> list[tuple[NDArray[np.float64] | None, float]]:
        return [programs.inner_point(system) for system in self._systems]

    @property
    def centre(self) -> Tensor:
        """The box's own centre where it keeps the constraints, else the nearest point that does."""
        return self.project(self.box.centre)

    @property
    def is_box(self) -> bool:
        return False

    def hull(self) -> Interval:
        return self._hull.hull()

    @functools.cached_property
    def _hull(self) -> Box:
        """Two linear programs a feature."""
        lower, upper = self._ends(range(self.box.x[0].numel()))
        return Box.between(lower, upper).to(self.box.x.dtype, self.box.x.device)

    def _ends(self, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The box, with the least and greatest value of some features over the polytope, in float64."""
        ends = [end.double().cpu().flatten(1).clone() for end in self.box.hull()]
        for sample, system in enumerate(self._systems):
            for axis in axes:
                unit = np.eye(1, len(system.lower), axis)[0]
                low = max(programs.least(system, unit, self._slack)[0], system.lower[axis])
                high = min(-programs.least(system, -unit, self._slack)[0], system.upper[axis])
                ends[0][sample, axis], ends[1][sample, axis] = min(low, high), max(low, high)
        return ends[0].view_as(self.box.x), ends[1].view_as(self.box.x)

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """A linear program a row (HiGHS), whose multipliers y >= 0 are then made into a bound of our own in float64.

        `min <a, x> >= -<y, b> + min over the box of <a + A' y, x>` whatever y is, so the solver's accuracy does not matter.
        """
        rows = rows.dense()
        values = rows.values.flatten(2)
        flat = values.detach().double().cpu().numpy()
        samples = range(flat.shape[1]) if rows.sample is None else rows.sample.tolist()
        bounds = np.empty(flat.shape[:2])
        points = np.empty_like(flat)
        for q, sample in enumerate(samples):
            system = self._systems[sample if len(self._systems) > 1 else 0]
            for p in range(flat.shape[0]):
                bounds[p, q], points[p, q] = programs.least(system, flat[p, q], self._slack)
        bound = torch.from_numpy(bounds).to(values.device, values.dtype)
        bound = torch.nextafter(bound, torch.full_like(bound, -torch.inf))
        if not values.requires_grad:
            return bound
        where = torch.from_numpy(points).to(values.device, values.dtype)
        rise: Tensor = ((values - values.detach()) * where).sum(2)
        return bound + rise

    def project(self, x: Tensor) -> Tensor:
        """A quadratic program a sample; points that keep the constraints stay as they are."""
        flat = x.detach().double().cpu().flatten(1).numpy()
        near = [
            programs.nearest(system, point, self._slack, inner)
            for system, point, (inner, _) in zip(self._systems, flat, self._inner, strict=True)
        ]
        moved = torch.from_numpy(np.stack(near)).view(x.shape).to(x.device, x.dtype)
        same = torch.tensor([bool((n == p).all()) for n, p in zip(near, flat, strict=True)], dtype=torch.bool, device=x.device)
        return torch.where(same.view(-1, *(1,) * (x.dim() - 1)), x, self.box.project(moved))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Hit-and-run from an inner point, then a random share of the way to a random vertex: a set without inside has vertices."""
        x = self.box.x
        draws = torch.randn(len(x), _STEPS + 1, x[0].numel(), generator=generator, dtype=x.dtype, device=x.device)
        shares = torch.rand(len(x), _STEPS + 1, generator=generator, dtype=x.dtype, device=x.device)
        found = []
        for system, (inner, _), directions, share in zip(
            self._systems, self._inner, draws.double().cpu().numpy(), shares.double().cpu().numpy(), strict=True
        ):
            vertex = programs.least(system, directions[-1], self._slack)[1]
            walked = programs.hit_and_run(system, inner, directions[:-1], share[:-1])
            found.append(walked + share[-1] ** 4 * (vertex - walked))
        return self.project(torch.from_numpy(np.stack(found)).view_as(x).to(x.device, x.dtype))

    def split(self, axis: int) -> tuple[Polytope, Polytope]:
        """The same constraints in both halves of the box, cut in the middle of the feature's range over the polytope."""
        box = Box.between(*self._ends([axis])).to(self.box.x.dtype, self.box.x.device)
        low, high = box.split(axis)
        return Polytope(self.A, self.b, low), Polytope(self.A, self.b, high)

    def inner(self) -> Polytope:
        return self._made(self.A, self.b, self.box.inner(), self._systems, self._inner)

    def holds(self, x: Tensor) -> Tensor:
        """Without slack: every constraint in rationals."""
        batch, size = len(x), x[0].numel()
        A, b = self.A.expand(batch, -1, size).tolist(), self.b.expand(batch, -1).tolist()
        kept = [keeps(*one) for one in zip(A, b, x.flatten(1).tolist(), strict=True)]
        return self.box.holds(x) & torch.tensor(kept, dtype=torch.bool, device=x.device)

    def take(self, index: Tensor) -> Polytope:
        A = self.A if self.A.dim() == 2 else self.A[index]
        b = self.b if self.b.dim() == 1 else self.b[index]
        return self._made(
            A, b, self.box.take(index), [self._systems[i] for i in index.tolist()], [self._inner[i] for i in index.tolist()]
        )

    def to(self, dtype: torch.dtype, device: torch.device) -> Polytope:
        """The constraints keep their precision: only the points change theirs."""
        box = self.box.to(dtype, device)
        return Polytope(self.A, self.b, box)

    @classmethod
    def _made(cls, A: Tensor, b: Tensor, box: Box, systems: list[programs.System], inner: list[programs.Inner]) -> Polytope:
        """The same as the constructor, without its linear programs."""
        made = object.__new__(cls)
        for name, value in (("A", A), ("b", b), ("box", box), ("_systems", systems), ("_inner", inner)):
            object.__setattr__(made, name, value)
        return made
