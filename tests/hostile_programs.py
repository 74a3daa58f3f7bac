"""A child process: linear programs that are made to break a solver. If one ends the process, it ends this one.

    python hostile_programs.py SOLVER FIRST LAST

Program i is made from the seed i. A point is chosen first and every finite row is written around it, so that the point is feasible
and no bound may lie above its value, which is summed in fractions. The networks have operators without finite bounds on their set;
some points of it are the oracle. Prints how the programs ended, then how the networks did, and fails by an exception.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections import Counter
from fractions import Fraction

import numpy as np
import torch
from scipy import sparse
from torch import nn

from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property
from epsball.problem.sets import Box, LpBall
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.program import Program
from epsball.verification.programs.solvers import open_session
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.programs.verifier import LpVerifier

BAD = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e25, -1e25, 1e16, 1e14, 5e-324, 1e-310, -0.0, 1e-12, 1e-9)


def _spoil(rng: np.random.Generator, values: np.ndarray, share: float) -> np.ndarray:
    bad = rng.random(values.shape) < share
    return np.where(bad, rng.choice(BAD, size=values.shape), values)


def _made(rng: np.random.Generator):
    """A program, a point that keeps its finite rows, and rows to add later."""
    n, m = int(rng.integers(1, 7)), int(rng.integers(0, 7))
    share = float(rng.choice([0.0, 0.05, 0.2, 0.6]))
    size = 10.0 ** rng.integers(-8, 9, n) if rng.random() < 0.3 else np.ones(n)
    point = rng.uniform(-1, 1, n) * size
    lower, upper = point - rng.uniform(0, 1, n) * size, point + rng.uniform(0, 1, n) * size
    if rng.random() < 0.2:
        lower[0] = upper[0] = point[0]
    lower, upper = _spoil(rng, lower, share), _spoil(rng, upper, share)
    # a box that leaves the point out is no box of this problem; crossed and infinite ends stay
    lower = np.where((lower > point) & (lower < 1e20), point, lower)
    upper = np.where((upper < point) & (upper > -1e20), point, upper)
    batches = []
    for count in (m, int(rng.integers(1, 4))):
        dense = rng.standard_normal((count, n)) * (rng.random((count, n)) < 0.7)
        dense = _spoil(rng, dense, share)
        at = np.array([_exact(row, point) for row in dense])
        room = 1e-6 * (np.abs(np.where(np.isfinite(dense), dense, 0.0)) @ np.abs(point) + 1e-300)
        low, high = at - room * rng.integers(0, 3, count), at + room * rng.integers(1, 3, count)
        low, high = np.where(rng.random(count) < 0.3, -math.inf, low - room), np.where(rng.random(count) < 0.3, math.inf, high)
        ends = (np.where(rng.random(count) < share / 2, rng.choice((math.nan, math.inf, -math.inf)), end) for end in (low, high))
        batches.append((sparse.csr_matrix(dense), *ends))
    return lower, upper, point, batches


def _exact(row: np.ndarray, point: np.ndarray) -> float:
    if not np.isfinite(row).all():
        return math.nan
    value = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, point, strict=True))
    return float(value) if abs(value) < 10**300 else math.nan


def one(seed: int, solver: str, ended: Counter) -> None:
    rng = np.random.default_rng(seed)
    lower, upper, point, batches = _made(rng)
    half = len(lower) // 2
    program = Program.over(lower[:half], upper[:half]).widened(lower[half:], upper[half:])
    if rng.random() < 0.9:
        program = program.with_rows(*batches[0])
    session = open_session(program, solver)
    for number in range(4):
        if number == 2:
            session.add(*batches[1])
        cost = _spoil(rng, rng.standard_normal(len(point)), float(rng.choice([0.0, 0.3])))
        found = session.minimise(cost, math.inf if number else 5.0)
        ended[found.outcome] += 1
        assert len(found.multipliers) == len(session.program.low)
        assert found.v is None or np.isfinite(found.v).all()
        assert found.outcome != "optimal" or found.v is not None
        value = _exact(cost, point)
        for multipliers in (found.multipliers, _spoil(rng, rng.standard_normal(len(found.multipliers)), 0.3)):
            bound = session.program.proven(cost, 0.0, multipliers)
            assert not math.isnan(bound), (seed, number)
            assert np.isfinite(cost).all() or bound == -math.inf, (seed, number)
            assert not bound > value, (seed, number, bound, value)
        ended["proven"] += bound > -math.inf


FUNCTIONS = {
    "divided": lambda h: h[:, :2] / h[:, 2:],
    "log": lambda h: torch.log(h.square()),
    "exploding": lambda h: torch.exp(400 * h) * torch.exp(400 * h.flip(1)),
}


class Bad(nn.Module):
    """ReLUs, a function that is not finite everywhere, more ReLUs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.fn = FUNCTIONS[name]
        self.first, self.second = nn.Linear(3, 4), nn.Linear(2 if name == "divided" else 4, 4)
        self.side, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.relu(self.second(self.fn(self.first(x))))
        return self.last(h + torch.relu(self.side(x)))


def networks(solver: str) -> Counter:
    ended: Counter = Counter()
    x = torch.full((1, 3), 0.1, dtype=torch.float64)
    for name in FUNCTIONS:
        module = Bad(name).double()
        prepared = Network.capture(module, (3,)).prepare()
        points = x + 2 * torch.rand(2000, 3, dtype=torch.float64) - 1
        c = torch.tensor([1.0, -1.0], dtype=torch.float64)
        prop = Property(c[None, None])
        reached = (module(points).detach() @ c).nan_to_num(math.inf).min()
        given, tight, groups = (TriangleLp(solver=solver), TriangleLp(neurons="lp", solver=solver), MultiNeuron(solver=solver))
        box, ball = Box(x, 1.0), LpBall(x, 1.0, "l2")
        for method, around in ((given, box), (tight, box), (groups, box), (given, ball)):
            bound = float(method(prepared, around, prop.rows()))
            assert not math.isnan(bound), (name, method)
            assert around is ball or bound <= reached, (name, method)
        (verdict,) = LpVerifier(given)(Problem(prepared, box, prop), Budget())
        assert verdict.status in ("unknown", "falsified"), (name, verdict)
        ended[verdict.status] += 1
    return ended


def main(solver: str, first: str, last: str) -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    ended: Counter = Counter()
    for seed in range(int(first), int(last)):
        one(seed, solver, ended)
    for counts in (ended, networks(solver)):
        sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
