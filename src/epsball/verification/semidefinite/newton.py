"""Newton's method on the semidefinite dual: the last parts of a percent, where first-order steps crawl.

The Hessian of the barrier needs no tensor of constraint matrices: each is diagonal or has rank two, so all entries are elementwise
products of `Q^-1` and of its products with the units' rows (Benson, Ye and Zhang 2000, dual scaling). A step costs about three
factorisations of the size of `Q` and of the multipliers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.verification.semidefinite.dual import Dual
    from epsball.verification.semidefinite.pace import Stopwatch

_CENTRED = 1.0  # of the decrement: half of it is what a step may gain, in weights of the barrier
_BEYOND = 1.5  # a step is taken if one so much longer is inside: what comes too near to the edge takes many steps to leave it
_JITTER = 1e-10


class Model(NamedTuple):
    """`(bound + weight * barrier) / weight` around a point, to second order."""

    slope: Float[Tensor, " m"]
    hessian: Float[Tensor, "m m"]


def model(dual: Dual, x: Float[Tensor, " m"], weight: float) -> Model | None:
    """The slope and minus the Hessian; None where Q cannot be factorised."""
    p = dual.lifted
    n, U = p.inputs, p.units
    _, g, Q = dual.quadratic(x)
    factor, failed = torch.linalg.cholesky_ex(Q)
    if int(failed):
        return None
    inverse = torch.cholesky_inverse(factor)
    w = inverse @ g / -2
    s, gap, room = w[n:], dual.gap @ w - p.b, dual.room @ w + dual.top
    value = torch.cat((w[:n].square() - 1, s.square() - s, s * gap, -s, -gap, -room))
    ahead = inverse @ dual.gap.T  # N x U
    # the slope of each constraint in w is `first * unit vector + second * gap row`
    one, none = torch.ones_like(s), torch.zeros_like(s)
    first = torch.cat((2 * w[:n], 2 * s - 1, gap, -one, none, one - p.k))
    second = torch.cat((torch.zeros_like(w), s, none, -one, one))
    units = inverse[:, n:]
    through = torch.cat((inverse * first[: n + U], *(units * f + ahead * h for f, h in _pairs(first, second, n, U))), 1)
    onto = dual.gap @ through  # U x m
    rows = [through[: n + U] * first[: n + U, None]]
    rows += [through[n:] * f[:, None] + onto * h[:, None] for f, h in _pairs(first, second, n, U)]
    hessian = torch.cat(rows) / (2 * weight)
    N = n + U
    cross = units * ahead
    hessian[:N, :N] += inverse.square()
    hessian[:N, N : N + U] += cross
    hessian[N : N + U, :N] += cross.T
    hessian[N : N + U, N : N + U] += (units[n:] * (dual.gap @ ahead) + ahead[n:] * ahead[n:].T) / 2
    inside = torch.where(dual.signed, 1 / x, 0.0)
    pull = torch.zeros_like(x)
    pull[:N], pull[N : N + U] = inverse.diagonal(), ahead[n:].diagonal()
    hessian.diagonal().add_(inside.square())
    return Model(value / weight + pull + inside, hessian)


def _pairs(first: Tensor, second: Tensor, n: int, U: int) -> list[tuple[Tensor, Tensor]]:
    ends = range(n + U, len(first), U)
    return [(first[i : i + U], second[i : i + U]) for i in ends]


def step(dual: Dual, x: Float[Tensor, " m"], weight: float) -> tuple[Tensor, float] | None:
    """One step that raises `bound + weight * barrier`, and Newton's decrement; None where there is none."""
    here, start = model(dual, x, weight), dual.bound(x)
    if here is None or start is None:
        return None
    scale = here.hessian.diagonal().rsqrt()
    scaled = here.hessian * scale * scale[:, None]
    scaled.diagonal().add_(_JITTER)
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if int(failed):
        return None
    move = scale * torch.cholesky_solve((here.slope * scale)[:, None], factor)[:, 0]
    gain = float(here.slope @ move)
    worth = float(start[0] / weight + start[1])
    sinking = dual.signed & (move < 0)
    length = min(1.0, 0.6 * float((-x[sinking] / move[sinking]).min())) if bool(sinking.any()) else 1.0

    def at(length: float) -> float | None:
        found = dual.bound(x + length * move)
        return None if found is None else float(found[0] / weight + found[1])

    for _ in range(30):
        reached = at(length)
        if reached is not None and reached >= worth + 0.01 * length * gain and at(_BEYOND * length) is not None:
            break
        length /= 2
    else:
        return None
    if length == 1.0:  # a multiplier that has far to go doubles in a step: further is better
        while (further := at(2 * length)) is not None and further > reached + 0.01 * length * gain:
            if at(2 * _BEYOND * length) is None:
                break
            length, reached = 2 * length, further
    return x + length * move, gain


def centre(dual: Dual, x: Float[Tensor, " m"], weight: float, *, steps: int, pace: Stopwatch) -> tuple[Tensor, int, bool]:
    """Steps towards the centre; the point, how many steps, and whether it is centred: then the gap is `weight * degree`."""
    for done in range(steps):
        if pace.stop():
            return x, done, False
        found = step(dual, x, weight)
        if found is None:
            return x, done + 1, False
        x, gain = found
        if gain < _CENTRED:
            return x, done + 1, True
    return x, steps, False
