"""The triangle LP against cvxpy, enumeration and its own witnesses; its bounds are proven whatever the solver says."""

from __future__ import annotations

import math

import cvxpy
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import zoo
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, MissingExtra
from epsball.forms.rows import Rows
from epsball.ops.elementwise import Elementwise
from epsball.ops.network import Network
from epsball.ops.operator import Affine
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall, Polytope
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.program import Program
from epsball.verification.programs.solvers import open_session
from epsball.verification.programs.triangle import TriangleLp
from references import exact, random_mlp


def _cvxpy_least(prepared, input_set, known, c) -> float:
    """The least of `c . f` over the relaxation, every node a variable of its own, affine nodes by their Jacobians."""
    hull = input_set.hull()
    values = {0: cvxpy.Variable(hull.lower[0].numel())}
    rules = [values[0] >= hull.lower[0].flatten().numpy(), values[0] <= hull.upper[0].flatten().numpy()]
    for step in prepared.steps:
        args = [values[s] for s in step.args]
        if isinstance(step.op, Affine):
            shapes = [known[s].lower.shape if s in known else None for s in step.args]
            zeros = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
            base = step.op.value(*zeros).flatten()
            total = base.numpy()
            for i, arg in enumerate(args):
                unit = torch.eye(zeros[i].numel(), dtype=torch.float64).view(-1, *zeros[i].shape[1:])
                others = [z.expand(len(unit), *z.shape[1:]) for z in zeros]
                others[i] = unit
                matrix = (step.op.value(*others).flatten(1) - base).T.numpy()
                total = matrix @ arg + total
            values[step.slot] = total
            continue
        assert isinstance(step.op, Elementwise)
        pre, y = known[step.args[0]], cvxpy.Variable(known[step.args[0]].lower.numel())
        for slope in ("zero", "one"):
            lines = step.op.lines(pre, slope)
            low = lines.lower_slope.flatten().numpy(), 0 if lines.lower_bias is None else lines.lower_bias.flatten().numpy()
            high = lines.upper_slope.flatten().numpy(), 0 if lines.upper_bias is None else lines.upper_bias.flatten().numpy()
            rules += [y >= cvxpy.multiply(low[0], args[0]) + low[1], y <= cvxpy.multiply(high[0], args[0]) + high[1]]
        values[step.slot] = y
    problem = cvxpy.Problem(cvxpy.Minimize(c @ values[prepared.plan.output]), rules)
    return float(problem.solve(solver=cvxpy.CLARABEL))


@pytest.mark.parametrize("name", ["mlp", "leaky", "conv", "residual", "deep_conv", "prelu"])
def test_the_least_value_is_cvxpys(name):
    network = zoo.network(name)
    prepared = network.prepare()
    x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ball = LpBall(x, 0.15 if name != "deep_conv" else 0.05, clip=(0.0, 1.0))
    known = Crown(full=True).known(prepared, ball).found
    known = {**known, prepared.plan.output: known.get(prepared.plan.output)}
    for step in prepared.steps:  # shapes of what the walk did not need
        if known.get(step.slot) is None:
            known[step.slot] = step.op.interval(*[known[s] for s in step.args])
    c = np.array([1.0, -1.0, 0.3])
    want = _cvxpy_least(prepared, ball, known, c)
    rows = Rows(torch.tensor(c)[None, None])
    for solver in ("scipy", "highspy"):
        got = float(TriangleLp(bounds=Crown(full=True), solver=solver)(prepared, ball, rows))
        assert got == pytest.approx(want, abs=2e-6 * (1 + abs(want)))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "pools", "gated", "conv_same"])
@pytest.mark.parametrize("set_of", [lambda x: LpBall(x, 0.08, clip=(0.0, 1.0)), lambda x: LpBall(x, 0.2, "l2", clip=(0.0, 1.0))])
def test_other_operators_are_sound_and_never_below_crown(name, set_of):
    network = zoo.network(name)
    prepared = network.prepare()
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    input_set = set_of(x)
    prop = robust(network.module(x).argmax(1), 3, torch.float64)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        points = torch.stack([prop.margins(prepared.forward(input_set.sample(generator))) for _ in range(60)]).amin(0)
        crown, lp = (m(prepared, input_set, prop.rows()) for m in (Crown(), TriangleLp()))
    assert bool((lp <= points + 1e-9).all())
    if input_set.is_box:
        assert bool((lp >= crown - 1e-7).all())
    assert bool(torch.isfinite(lp).all())


def test_a_sets_own_constraints_count():
    module, _ = random_mlp(5, (3, 5, 2))
    prepared = Network.capture(module, (3,)).prepare()
    box, rows = Box(torch.zeros(1, 3, dtype=torch.float64), 1.0), Rows(torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([box.sample(generator) for _ in range(4000)])
    values = prepared.forward(x) @ torch.tensor([-1.0, 1.0], dtype=torch.float64)
    bounds = []
    for height in (4.0, 0.0, -1.5, -2.5):
        bounds.append(float(TriangleLp()(prepared, Polytope(torch.ones(1, 3), torch.tensor([height]), box), rows)))
        assert bounds[-1] <= float(values[x.sum(1) <= height].min()) + 1e-9
    assert bounds[0] == pytest.approx(float(TriangleLp()(prepared, box, rows)), abs=1e-8)
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0] + 0.05


def test_ragged_rows_and_single_precision():
    network = Network.capture(*zoo.build("mlp", seed=2))
    prepared = network.prepare()
    x = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    box = Box(x, 0.1)
    prop = robust(torch.zeros(3, dtype=torch.long), 3)
    shared = TriangleLp()(prepared, box, prop.rows())
    sample = torch.tensor([2, 0, 2])
    ragged = TriangleLp()(prepared, box, Rows(prop.C[:, sample], sample))
    assert shared.dtype == torch.float32
    assert torch.allclose(ragged, shared[:, sample], atol=1e-6)
    double = TriangleLp()(
        Network.capture(network.module.double(), (5,)).prepare(), box.to(torch.float64, x.device), prop.rows().like(prop.C.double())
    )
    assert torch.allclose(shared.double(), double, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_any_multipliers_prove_a_bound(seed):
    """Random, useless and infinite multipliers prove something below the optimum, the solver's own the optimum."""
    generator = np.random.default_rng(seed)
    matrix = sparse.random(6, 5, density=0.6, random_state=seed, format="csr")
    program = Program.over(-np.ones(5), 2 * np.ones(5)).with_rows(
        matrix, np.r_[-np.inf, np.full(5, -0.4)], np.r_[np.full(5, 0.5), np.inf]
    )
    cost = generator.normal(size=5)
    best = open_session(program, "scipy").minimise(cost, math.inf)
    v = cvxpy.Variable(5)
    rules = [matrix[:5] @ v <= 0.5, matrix[1:] @ v >= -0.4, v >= -1, v <= 2]
    want = cvxpy.Problem(cvxpy.Minimize(cost @ v), rules).solve(solver=cvxpy.CLARABEL)
    assert program.proven(cost, 0.0, best.multipliers) == pytest.approx(want, abs=1e-6)
    again = open_session(program, "highspy")
    again.minimise(-cost, math.inf)
    assert program.proven(cost, 0.0, again.minimise(cost, math.inf).multipliers) == pytest.approx(want, abs=1e-6)
    for scale in (0.0, 0.1, 1.0, 100.0):
        assert program.proven(cost, 0.0, scale * generator.normal(size=6)) <= want + 1e-9
    assert program.proven(cost, 0.0, np.full(6, np.nan)) == pytest.approx(
        -np.abs(cost).sum() + np.minimum(cost, 0).sum() * 1, abs=1e-9
    )
    assert program.proven(np.ones(5), 0.0, np.full(6, np.inf)) <= -5 + 1e-9


def test_rows_that_are_added_count_from_then_on():
    for solver in ("scipy", "highspy"):
        session = open_session(Program.over(np.zeros(2), np.ones(2)), solver)
        assert list(session.minimise(np.array([-1.0, -1.0]), 9.0).v) == [1, 1]
        for height, want in ((1.5, -1.5), (1.0, -1.0)):
            session.add(sparse.csr_matrix(np.ones((1, 2))), np.array([-np.inf]), np.array([height]))
            found = session.minimise(np.array([-1.0, -1.0]), 9.0)
            assert session.program.proven(np.array([-1.0, -1.0]), 0.0, found.multipliers) == pytest.approx(want)


def test_lp_tight_neurons_equal_their_own_programs():
    """Layer by layer: the bounds of the second layer's neurons are the LP over the first."""
    module, weights = random_mlp(3, (3, 5, 4, 2))
    prepared = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = Box(x, 0.5)
    given, tight = (TriangleLp(neurons=n).open(prepared, box).encoding.known.found for n in ("given", "lp"))
    second = prepared.nonlinear[1].args[0]
    inner = Network.capture(module[:3], (3,)).prepare()
    unit = torch.eye(4, dtype=torch.float64)[:, None]
    low, high = TriangleLp()(inner, box, Rows(unit))[:, 0], -TriangleLp()(inner, box, Rows(-unit))[:, 0]
    unstable = ((given[second].lower < 0) & (given[second].upper > 0))[0]
    assert bool(unstable.any())
    assert torch.allclose(tight[second].lower[0][unstable], low[unstable], atol=1e-8)
    assert torch.allclose(tight[second].upper[0][unstable], high[unstable], atol=1e-8)
    c = np.array([1.0, -1.0])
    values = [float(TriangleLp(neurons=n)(prepared, box, Rows(torch.tensor(c)[None, None]))) for n in ("given", "lp")]
    assert values[0] <= values[1] + 1e-9 <= exact(weights, x[0].numpy(), 0.5, c) + 1e-7


def test_bad_options_say_what_is_wrong(monkeypatch):
    for options in ({"neurons": "all"}, {"solver": "gurobi"}):
        with pytest.raises(BadConfig, match="use"):
            TriangleLp(**options)
    with pytest.raises(BadConfig, match="groups of three"):
        MultiNeuron(units=2)
    with pytest.raises(BadConfig, match="unknown solver"):
        open_session(Program.over(np.zeros(1), np.ones(1)), "glpk")
    monkeypatch.setattr("epsball.verification.programs.solvers.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"\[verify\]"):
        open_session(Program.over(np.zeros(1), np.ones(1)), "highspy")
    assert type(open_session(Program.over(np.zeros(1), np.ones(1)), "auto")).__name__ == "Scipy"


def test_a_network_without_unstable_units_needs_no_program():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        module[0].bias.fill_(10.0)
    prepared = Network.capture(module, (2,)).prepare()
    box = Box(torch.rand(1, 2, dtype=torch.float64), 0.1)
    rows = Rows(torch.tensor([[[1.0, -1.0]]], dtype=torch.float64))
    relaxation = TriangleLp(solver="scipy").open(prepared, box)
    assert relaxation.unstable == 0
    assert float(TriangleLp(solver="scipy")(prepared, box, rows)) == pytest.approx(float(Crown()(prepared, box, rows)), abs=1e-9)
