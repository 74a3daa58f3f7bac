"""The dual of the semidefinite relaxation: any multipliers give a bound, and how good it is says the barrier.

With one multiplier for each constraint of `sdp_lift`, the Lagrangian is a quadratic `w Q w + g w + c`. Where `Q` is positive
definite its least value over all `w` is `c - g Q^-1 g / 4`, a lower bound of the form over the set (Raghunathan et al. 2018,
arXiv:1811.01057; Dathathri et al. 2020, arXiv:2010.11645, Sec. 4). The best multipliers give the value of the relaxation itself.

Multipliers are one vector `x`: `inputs` of the inputs' boxes, then U each of the units' boxes, of the products (these may have
either sign), and of the triangle's lines `s >= 0`, `s >= z` and the chord.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch

from epsball.types import Bool, Float, Tensor

if TYPE_CHECKING:
    from epsball.verification.semidefinite.lift import Lifted

_EPS = torch.finfo(torch.float64).eps


class Parts(NamedTuple):
    """The multipliers by constraint; `inputs` is (n,), the others are (U,)."""

    inputs: Tensor
    box: Tensor
    product: Tensor
    zero: Tensor
    line: Tensor
    chord: Tensor


class Quadratic(NamedTuple):
    """`w Q w + g w + c`."""

    c: Tensor
    g: Float[Tensor, " N"]
    Q: Float[Tensor, "N N"]


@dataclass(frozen=True, eq=False)
class Dual:
    """The dual of one form.

    Attributes:
        lifted: the constraints.
        row: which form.
    """

    lifted: Lifted
    row: int

    @cached_property
    def gap(self) -> Float[Tensor, "U N"]:
        """Of each unit, `k s - A w`: with `- b`, how far it is above its pre-activation."""
        found = -self.lifted.A
        at = torch.arange(self.lifted.units, device=found.device)
        found[at, self.lifted.inputs + at] += self.lifted.k
        return found

    @cached_property
    def room(self) -> Float[Tensor, "U N"]:
        """Of each unit, `A w - s`: with `top`, how far it is below its chord."""
        found = self.lifted.A.clone()
        at = torch.arange(self.lifted.units, device=found.device)
        found[at, self.lifted.inputs + at] -= 1
        return found

    @cached_property
    def top(self) -> Float[Tensor, " U"]:
        """`b + 1 - k`, see `room`."""
        return self.lifted.b + 1 - self.lifted.k

    @cached_property
    def signed(self) -> Bool[Tensor, " m"]:
        """Multipliers that must not be negative: all but those of the products."""
        n, U = self.lifted.inputs, self.lifted.units
        at = torch.arange(n + 5 * U, device=self.lifted.b.device)
        return (at < n + U) | (at >= n + 2 * U)

    @property
    def degree(self) -> int:
        """At the centre for a weight t of the barrier, the bound is `t * degree` below the best one."""
        return 2 * self.lifted.inputs + 5 * self.lifted.units

    def parts(self, x: Float[Tensor, " m"]) -> Parts:
        n, U = self.lifted.inputs, self.lifted.units
        return Parts(x[:n], *(x[n + i * U : n + (i + 1) * U] for i in range(5)))

    def quadratic(self, x: Float[Tensor, " m"]) -> Quadratic:
        """The Lagrangian."""
        p, of = self.lifted, self.parts(x)
        g = p.c[self.row] - of.line @ self.gap - of.chord @ self.room
        g[p.inputs :] -= of.zero + of.product * p.b + of.box
        c = p.c0[self.row] + of.line @ p.b - of.chord @ self.top - of.inputs.sum()
        Q = torch.diag(torch.cat((of.inputs, of.box)))
        half = of.product[:, None] * self.gap / 2
        Q[p.inputs :] += half
        Q[:, p.inputs :] += half.T
        return Quadratic(c, g, Q)

    def bound(self, x: Float[Tensor, " m"]) -> tuple[Tensor, Tensor] | None:
        """The bound and the barrier, differentiable; None where the Lagrangian has no least value.

        The inputs' block of Q is diagonal, so they are eliminated: what is factorised has one row a unit.
        """
        p, of = self.lifted, self.parts(x)
        n, A = p.inputs, p.A[:, : p.inputs]
        own, over = self.gap[:, n:], self.room[:, n:]
        g_in = p.c[self.row, :n] + (of.line - of.chord) @ A
        g = p.c[self.row, n:] - of.zero - of.product * p.b - of.box - of.line @ own - of.chord @ over
        cross = of.product[:, None] * A
        square = of.product[:, None] * own
        schur = torch.diag(of.box) + (square + square.T) / 2 - (cross / of.inputs) @ cross.T / 4
        factor, failed = torch.linalg.cholesky_ex(schur)
        positive = x[self.signed]
        if int(failed) or not bool((positive > 0).all()):
            return None
        rest = torch.linalg.solve_triangular(factor, (g + cross @ (g_in / of.inputs) / 2)[:, None], upper=False)
        c = p.c0[self.row] + of.line @ p.b - of.chord @ self.top - of.inputs.sum()
        value = c - (g_in.square() / of.inputs).sum() / 4 - rest.square().sum() / 4
        return value, 2 * factor.diagonal().log().sum() + of.inputs.log().sum() + positive.log().sum()

    def lost(self, x: Float[Tensor, " m"]) -> float:
        """What the network's rounding takes from the bound: each constraint that reads a unit is off by what the unit is."""
        p, of = self.lifted, self.parts(x)
        return float(p.c_lost[self.row] + (of.line.abs() + of.chord.abs() + of.product.abs()) @ p.lost) * (1 + 1e-6)

    def crown(self) -> tuple[float, Float[Tensor, " m"]]:
        """The bound of CROWN with adaptive slopes, and its multipliers: a point of the dual, on its edge."""
        p = self.lifted
        n, g = p.inputs, p.c[self.row].clone()
        zero, line, chord = (torch.zeros_like(p.b) for _ in range(3))
        for i in reversed(range(p.units)):
            slope, k = float(g[n + i]), float(p.k[i])
            if slope < 0:
                chord[i] = -slope
                g = g + slope * p.A[i]
            elif k > 0.5:
                line[i] = slope / k
                g = g + slope / k * p.A[i]
            else:
                zero[i] = slope
        least = p.c0[self.row] + line @ p.b - chord @ self.top - g[:n].abs().sum()
        none = torch.zeros_like(zero)
        x = torch.cat((g[:n].abs() / 2, none, none, zero, line, chord))
        sums = float(p.c0[self.row].abs() + line @ p.b.abs() + chord @ self.top.abs() + self._passed(line, chord))
        return float(least) - self.lost(x) - 8 * len(g) * _EPS * sums, x

    def _passed(self, line: Tensor, chord: Tensor) -> Tensor:
        """The size of all that CROWN's walk adds up."""
        p = self.lifted
        return p.c[self.row].abs().sum() + (line + chord) @ p.A.abs().sum(1)

    def nominal(self) -> float:
        """The form at the centre of the set: no bound lies above."""
        p = self.lifted
        w = p.A.new_zeros(p.inputs + p.units)
        for i in range(p.units):
            w[p.inputs + i] = ((p.A[i] @ w + p.b[i]) / p.k[i]).clamp(min=0)
        return float(p.c[self.row] @ w + p.c0[self.row])

    def certified(self, x: Float[Tensor, " m"]) -> float:
        """A lower bound that these multipliers prove, whatever rounding did to them on the way.

        Every variable lies in [-1, 1]. If the least eigenvalue of Q is at least -e, then adding `e (w w - N)` keeps the Lagrangian
        below the form and makes it convex; a convex function is at least its tangent at any point. The eigenvalue is taken less the
        error of its computation in float64 (4 N units of roundoff times the norm of Q), and the value less that of its sums.
        """
        of = Parts(*(part if name == "product" else part.clamp(min=0) for name, part in self.parts(x)._asdict().items()))
        c, g, Q = self.quadratic(torch.cat(of))
        count = len(g)
        slack = 4 * count * _EPS * float(torch.linalg.matrix_norm(Q))
        eye = torch.eye(count, dtype=Q.dtype, device=Q.device)
        factor, failed = torch.linalg.cholesky_ex(Q - slack * eye)
        lift = 0.0
        if int(failed):
            lift = max(0.0, slack - float(torch.linalg.eigvalsh(Q)[0]))
            Q = Q + lift * eye
            factor = torch.linalg.cholesky_ex(Q + slack * eye)[0]
        w = torch.cholesky_solve(-g[:, None] / 2, factor)[:, 0].nan_to_num().clamp(-1, 1)
        slope = 2 * (Q @ w) + g
        value = c + g @ w + w @ (Q @ w) - slope.abs() @ (1 + w.abs()) - lift * count
        sums = float(c.abs() + torch.cat(of).abs().sum() * 4 + g.abs().sum() + Q.abs().sum())
        found = float(value) - 4 * count * _EPS * sums - self.lost(torch.cat(of))
        return found if math.isfinite(found) else -math.inf
