"""The semidefinite relaxation against clarabel, enumeration, the triangle LP and samples."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import nn

import zoo
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, UnsupportedOp
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, LpBall
from epsball.verification.ladder import Ladder
from epsball.verification.semidefinite import newton as sdp_newton
from epsball.verification.semidefinite.ascent import climb
from epsball.verification.semidefinite.dual import Dual
from epsball.verification.semidefinite.lift import lift
from epsball.verification.semidefinite.newton import model
from epsball.verification.semidefinite.pace import Stopwatch
from epsball.verification.semidefinite.verifier import Sdp, SdpVerifier
from references import exact, preactivations, random_mlp, triangle_lp


def clarabel(lifted, row: int = 0) -> float:
    """The primal: the moment matrix of (1, w), written out from the text of `sdp_lift`."""
    n, U = lifted.inputs, lifted.units
    A, b, k, c, c0 = (v.numpy() for v in (lifted.A, lifted.b, lifted.k, lifted.c[row], lifted.c0[row]))
    X = cp.Variable((n + U + 1, n + U + 1), PSD=True)
    w, squares = X[0, 1:], cp.diag(X)[1:]
    s, z = w[n:], A @ w + b
    product = cp.multiply(k, squares[n:]) - cp.sum(cp.multiply(A, X[n + 1 :, 1:]), axis=1) - cp.multiply(b, s)
    lines = [s >= 0, cp.multiply(k, s) - z >= 0, z + 1 - k - s >= 0]
    problem = cp.Problem(cp.Minimize(c @ w + c0), [X[0, 0] == 1, squares[:n] <= 1, squares[n:] <= s, product == 0, *lines])
    return problem.solve(solver=cp.CLARABEL)


def _mlp(seed: int, sizes: tuple[int, ...], radius: float):
    module, weights = random_mlp(seed, sizes)
    network = Network.capture(module, (sizes[0],)).prepare()
    x = torch.rand(1, sizes[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = Property(torch.tensor([1.0, -1.0] + [0.0] * (sizes[-1] - 2), dtype=torch.float64)[None, None]).rows()
    return network, weights, Box(x, radius), rows


def _dual(seed: int = 0, sizes: tuple[int, ...] = (3, 6, 6, 2), radius: float = 0.4) -> tuple[Dual, float]:
    network, _, box, rows = _mlp(seed, sizes, radius)
    known = Crown().known(network, box)
    return Dual(lift(network, box, known.found, rows), 0), float(known.lower_bound(network.plan.output, rows))


@pytest.mark.parametrize("name", ["leaky", "conv", "residual", "affine_only"])
def test_constraints_hold_at_every_point_of_the_set(name):
    """Any arrangement of affine operators and ReLUs: the variables reproduce the network."""
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box, prepared = Box(x, 0.15), network.prepare()
    rows = robust(torch.zeros(1, dtype=torch.long), network.classes, torch.float64).rows()
    p = lift(prepared, box, Crown().known(prepared, box).found, rows)
    centre, radius = (end.flatten() for end in box.hull().centre_radius())
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        point = box.sample(generator)
        w = torch.cat(((point.flatten() - centre) / radius, torch.zeros(p.units, dtype=torch.float64)))
        for i in range(p.units):
            w[p.inputs + i] = ((p.A[i] @ w + p.b[i]) / p.k[i]).clamp(min=0)
        torch.testing.assert_close(p.c @ w + p.c0, (rows.values[:, 0] * prepared.forward(point)).sum(-1))
        s, z = w[p.inputs :], p.A @ w + p.b
        assert bool((w.abs() <= 1 + 1e-9).all())
        assert bool((torch.cat((s, p.k * s - z, z + 1 - p.k - s, s * (1 - s))) >= -1e-9).all())
        assert float((s * (p.k * s - z)).abs().sum()) < 1e-9


@pytest.mark.parametrize(
    ("seed", "sizes", "radius"), [(0, (3, 6, 6, 2), 0.4), (1, (5, 8, 8, 3), 0.3), (2, (4, 6, 6, 6, 2), 0.2), (3, (5, 14, 2), 0.5)]
)
def test_within_one_percent_of_clarabel(seed, sizes, radius):
    dual, _ = _dual(seed, sizes, radius)
    want = clarabel(dual.lifted)
    got = Sdp().ascend(dual)
    assert want - 0.01 * abs(want) <= got.bound <= want + 1e-6
    assert got.ceiling >= want - 1e-6
    assert Sdp(tolerance=1e-5).ascend(dual).bound == pytest.approx(want, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_between_the_triangle_lp_and_the_exact_value(seed):
    network, weights, box, rows = _mlp(seed, (3, 4, 4, 2), 0.4)
    x, c = box.x[0].numpy(), np.array([1.0, -1.0])
    lp = triangle_lp(weights, x, 0.4, c, preactivations(network, Crown(), box))
    least = exact(weights, x, 0.4, c)
    got = float(Sdp(tolerance=1e-4)(network, box, rows))
    assert lp - 1e-6 <= got <= least + 1e-9
    if lp < least - 1e-3:
        assert got > lp + 0.05 * (least - lp), "the product constraints cut off a part of the triangles' corners"


def test_any_multipliers_are_sound_and_crowns_own_are_its_bound():
    network, _, box, rows = _mlp(0, (3, 6, 6, 2), 0.4)
    dual, crown = _dual()
    least, x = dual.crown()
    assert least == pytest.approx(crown, rel=1e-12)
    assert dual.certified(x) == pytest.approx(crown, abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    outputs = [network.forward(box.sample(generator)) for _ in range(300)]
    attained = min(float((rows.values * y).sum()) for y in outputs)
    assert dual.nominal() >= Sdp(tolerance=1e-5).ascend(dual).bound
    for scale in (1e-3, 0.1, 1.0):
        for _ in range(20):
            noise = scale * torch.randn(len(x), generator=generator, dtype=torch.float64)
            assert dual.certified(x + noise) <= attained


def test_the_written_derivatives_are_the_traced_ones():
    dual, _ = _dual()
    x = dual.crown()[1] + 0.05 * dual.signed

    def whole(x):
        bound, barrier = dual.bound(x)
        return bound / 0.01 + barrier

    found = model(dual, x, 0.01)
    torch.testing.assert_close(found.slope, torch.autograd.functional.jacobian(whole, x))
    torch.testing.assert_close(found.hessian, -torch.autograd.functional.hessian(whole, x))
    c, g, Q = dual.quadratic(x)
    torch.testing.assert_close(dual.bound(x)[0], c - g @ torch.linalg.solve(Q, g) / 4)


def test_first_order_steps_alone_are_sound_and_tighter_than_crown():
    dual, crown = _dual(2, (4, 10, 10, 2), 0.3)
    best = Sdp(tolerance=1e-4).ascend(dual).bound
    got = Sdp(newton=0, steps=300).ascend(dual)
    assert crown < got.bound <= best + 1e-3 * abs(best)
    assert got.ceiling == math.inf
    assert got.bound > crown + 0.3 * (best - crown)
    x = dual.crown()[1] + 0.01 * dual.signed
    assert torch.equal(climb(dual, x, 0.01, steps=50, pace=Stopwatch(time.monotonic() - 1)).sign(), x.sign())


def test_a_batch_is_its_samples_and_enough_is_enough():
    module, _ = random_mlp(5, (3, 6, 6, 3))
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows = robust(module(x).argmax(1), 3, torch.float64).rows()
    crown, whole = Crown()(network, Box(x, 0.2), rows), Sdp()(network, Box(x, 0.2), rows)
    assert bool((whole >= crown).all())
    for i in range(3):
        alone = Sdp()(network, Box(x[i : i + 1], 0.2), rows.like(rows.values[:, i : i + 1]))
        torch.testing.assert_close(alone[:, 0], whole[:, i])
    some = Sdp(enough=float(crown.max()) - 1e-9)(network, Box(x, 0.2), rows)
    assert bool((some[crown == crown.max()] == crown.max()).all())
    assert bool((some <= whole + 1e-2 * whole.abs()).all())


def _problem(radius: float) -> tuple[Problem, nn.Module]:
    """One margin whose least value is 0.05 and which CROWN cannot prove: |a - b| written with ReLUs, twice."""
    first, second = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        first.bias.zero_()
        second.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        second.bias.copy_(torch.tensor([0.05, 0.0]))
    module = nn.Sequential(first, nn.ReLU(), second)
    network = Network.capture(module, (2,)).prepare()
    x = torch.full((2, 2), 0.5, dtype=torch.float64)
    ball, prop = LpBall(x, radius, "linf", (0.0, 1.0)), robust(torch.zeros(2, dtype=torch.long), 2, torch.float64)
    return Problem(network, ball, prop), module


def test_verdicts_are_verified_unknown_and_timeout():
    problem, module = _problem(0.1)
    verdicts = SdpVerifier()(problem, Budget())
    assert {v.method for v in verdicts} == {"sdp"}
    assert all(v.status == ("verified" if v.margin > 0 else "unknown") for v in verdicts)
    assert [v.status for v in SdpVerifier()(problem, Budget(seconds=1e-9))] == ["timeout", "timeout"]
    ladder = Ladder(steps=("clean", "attack", "sdp"))(replace(problem, function=module), Budget())
    assert [v.status for v in ladder] == [v.status for v in verdicts]


@pytest.mark.parametrize(("seconds", "certify", "step"), [(60.0, 1.0, 7.0), (40.0, 0.1, 3.0), (10.0, 0.1, 0.5)])
def test_a_budget_is_kept_whatever_a_step_takes(monkeypatch, seconds, certify, step):
    """On a clock that runs while matrices are factorised: what is begun is checked within the budget, and is a timeout."""
    network, _, box, rows = _mlp(1, (5, 8, 8, 3), 0.3)
    crown = float(Crown()(network, box, rows))
    problem = Problem(network, box, Property(rows.values, torch.full((1, 1), -crown - 10.0, dtype=torch.float64)))  # out of reach
    clock = [0.0]

    def slow(what, takes):
        def run(*args):
            clock[0] += takes
            return what(*args)

        return run

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Dual, "certified", slow(Dual.certified, certify))
    monkeypatch.setattr(sdp_newton, "step", slow(sdp_newton.step, step))
    (verdict,) = SdpVerifier(Sdp())(problem, Budget(seconds=seconds))
    assert verdict.status == "timeout"
    assert clock[0] <= seconds
    assert clock[0] > 0.3 * seconds
    assert verdict.margin >= -10.0 - 1e-9
    clock[0] = 0.0
    (whole,) = SdpVerifier(Sdp())(problem, Budget())
    assert whole.status == "unknown"
    assert clock[0] > seconds
    assert whole.margin > verdict.margin


def test_what_cannot_be_served_is_one_error():
    network = Network.capture(*zoo.build("sigmoid", 1, torch.float64))
    x = torch.rand(1, *network.input_shape, dtype=torch.float64)
    with pytest.raises(UnsupportedOp, match="no semidefinite relaxation of `sigmoid`"):
        Sdp()(network.prepare(), Box(x, 0.1), robust(torch.tensor([0]), network.classes, torch.float64).rows())
    wide = Network.capture(nn.Linear(6001, 2), (6001,)).prepare()
    with pytest.raises(BadConfig, match="more than 6000 variables"):
        Sdp()(wide, Box(torch.rand(1, 6001), 0.1), robust(torch.tensor([0]), 2).rows())
    for options in ({"steps": 0, "newton": 0}, {"shrink": 1.0}, {"tolerance": 0.0}, {"seconds": 0.0}):
        with pytest.raises(BadConfig):
            Sdp(**options)
