"""LP and multi-neuron as verifiers: YES, NO with a witness, MAYBE; time, failures, exactness; and as steps of the ladder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from epsball.attacks.pgd import PGD
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, UnsupportedOp
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, Geometric, LpBall, Transformed
from epsball.verification.base import verifiers
from epsball.verification.incomplete import Incomplete
from epsball.verification.ladder import Ladder, named_steps
from epsball.verification.programs import triangle as engine
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.solvers import Solution
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.programs.verifier import LpVerifier, MultiNeuronVerifier
from epsball.verification.survey import survey
from references import exact, random_mlp


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.capture(random_mlp(1, (5, 24, 24, 3))[0], (5,))


def _problem(network: Network, eps: float, count: int = 12) -> Problem:
    x = torch.rand(count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        y = network.module(x).argmax(1)
    return Problem(network.prepare(), LpBall(x, eps, clip=(0.0, 1.0)), robust(y, 3, torch.float64))


@pytest.mark.parametrize("name", ["lp", "multi-neuron"])
def test_the_three_answers(network, name):
    problem = _problem(network, 0.2, 20)
    verdicts = verifiers[name]()(problem, Budget())
    assert {v.status for v in verdicts} == {"verified", "falsified", "unknown"}
    crown = Crown()(problem.network, problem.input_set, problem.prop.rows()).amin(0)
    reached = PGD(steps=60, restarts=4)(
        problem.network.forward, problem.input_set, problem.prop, torch.Generator().manual_seed(0)
    ).margin
    hull = problem.input_set.hull()
    for i, v in enumerate(verdicts):
        assert v.margin >= float(crown[i]) - 1e-9
        assert v.margin <= float(reached[i]) + 1e-9
        assert (v.status == "falsified") == (v.witness is not None)
        if v.status == "verified":
            assert v.margin > 0
        if v.witness is not None:
            assert bool(((v.witness.x >= hull.lower[i]) & (v.witness.x <= hull.upper[i])).all())
            y = problem.network.forward(v.witness.x[None])
            assert torch.allclose(y[0], v.witness.y)
            assert float(problem.prop.take(torch.tensor([i])).margins(y).amin()) <= 0
            assert v.stats[f"{name}.found"] <= 0


def test_multi_neuron_proves_at_least_what_the_lp_does(network):
    problem = _problem(network, 0.2, 20)
    lp, cut = (v(problem, Budget()) for v in (LpVerifier(), MultiNeuronVerifier()))
    whole = [(a.margin, b.margin) for a, b in zip(lp, cut, strict=True) if a.status != "falsified"]  # all rows were bounded
    assert all(b >= a - 1e-9 for a, b in whole)
    assert sum(b > a + 1e-4 for a, b in whole) >= 3
    assert sum(v.status == "verified" for v in cut) > sum(v.status == "verified" for v in lp)


def test_the_exact_flag_means_exact():
    flags = []
    for seed in range(10):
        module, weights = random_mlp(seed, (3, 3, 3, 2))
        prepared = Network.capture(module, (3,)).prepare()
        x = torch.rand(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        c = np.array([1.0, -1.0])
        least = exact(weights, x[0].numpy(), 0.5, c)
        prop = Property(torch.tensor(c)[None, None], torch.full((1, 1), -least - 5.0, dtype=torch.float64))  # never proven by CROWN
        (verdict,) = LpVerifier()(Problem(prepared, Box(x, 0.5), prop), Budget())
        flag = verdict.stats["lp.exact"]
        flags.append(flag)
        assert (verdict.margin == pytest.approx(-5.0, abs=1e-5)) == bool(flag)
        assert verdict.margin <= -5.0 + 1e-7
        assert verdict.status == "falsified"
    assert set(flags) == {0.0, 1.0}


def test_nothing_is_exact_that_no_point_attains():
    """A linear layer on rotated pictures: nothing is unstable, and yet the bound over the set is no picture's value."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).double()
    network = Network.capture(module, (1, 8, 8))
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = Transformed.within(x, Geometric(), angle=20.0)
    share = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    least = []
    for i in range(8):
        angles = torch.lerp(whole.lower[i], whole.upper[i], share)
        y = module(whole.transform.apply(x[i : i + 1].expand(2001, -1, -1, -1), angles)).detach()
        least.append(float((y[:, 0] - y[:, 1]).min()))
    d = 0.05 - torch.tensor(least, dtype=torch.float64)[None]  # every margin is 0.05 at its least
    C = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(1, 8, 2)
    for v in LpVerifier()(Problem(network.prepare(), whole, Property(C, d)), Budget()):
        assert v.margin < 0.05 + 1e-6
        assert not (v.stats.get("lp.exact") and v.margin < 0.05 - 1e-3)
        assert v.status != "falsified"
    # on a box the corner is a point of the set, and attains what is proven
    flat = Box(x[:3], 0.1)
    low = (module[1].weight[0] - module[1].weight[1]).abs().sum() * 0.1
    y = module(x[:3]).detach()
    d = 0.05 - (y[:, 0] - y[:, 1] - low.detach())[None]
    verdicts = LpVerifier()(Problem(network.prepare(), flat, Property(C[:, :3], d - 0.2)), Budget())
    assert [v.stats["lp.exact"] for v in verdicts] == [1.0, 1.0, 1.0]
    assert [v.status for v in verdicts] == ["falsified"] * 3
    assert [v.margin for v in verdicts] == pytest.approx([-0.15] * 3)


def test_no_time_is_a_timeout_and_never_an_answer(network, monkeypatch):
    problem = _problem(network, 0.2)
    verdicts = LpVerifier()(problem, Budget(seconds=1e-9))
    assert {v.status for v in verdicts} == {"timeout"}
    assert all(math.isnan(v.margin) for v in verdicts)
    good = LpVerifier()(problem, Budget())
    solved = ["lp.exact" in v.stats for v in good]

    def late(session, encoding, cost, offset, until):
        return engine.Optimum(-math.inf, "limit", None, np.zeros(0))

    monkeypatch.setattr(engine, "solve", late)
    for needed, verdict in zip(solved, LpVerifier()(problem, Budget()), strict=True):
        assert (verdict.status == "timeout") == needed
    assert any(solved)


@pytest.mark.parametrize("solver", ["scipy", "highspy"])
def test_what_a_solver_does_not_finish_proves_nothing(network, monkeypatch, solver):
    problem = _problem(network, 0.2)
    method = TriangleLp(solver=solver)
    session = method.open(problem.network, problem.take(torch.tensor([0])).input_set).session
    monkeypatch.setattr(type(session), "minimise", lambda self, *_: Solution("failed", None, np.full(len(self.program.low), 1e3)))
    plain = Incomplete("crown")(problem, Budget())
    for crown, verdict in zip(plain, LpVerifier(method)(problem, Budget()), strict=True):
        assert verdict.margin == pytest.approx(crown.margin, abs=1e-9)
        assert verdict.status in {crown.status, "unknown"}
        if verdict.status == "unknown":
            assert "did not finish" in verdict.note


@pytest.mark.parametrize("outcome", ["failed", "limit"])
@pytest.mark.parametrize("solver", ["scipy", "highspy"])
def test_multipliers_of_a_solver_that_did_not_finish_still_prove(network, monkeypatch, solver, outcome):
    """All of the LP's proofs are there, with a note; without a minimiser nothing is falsified, and a limit ends the search."""
    problem, method = _problem(network, 0.15, 20), TriangleLp(solver=solver)
    good = LpVerifier(method)(problem, Budget())
    kind = type(method.open(problem.network, problem.take(torch.tensor([0])).input_set).session)
    real = kind.minimise

    def unfinished(self, cost, seconds):
        found = real(self, cost, seconds)
        return Solution(outcome, None, found.multipliers)

    monkeypatch.setattr(kind, "minimise", unfinished)
    crown = [v.margin for v in Incomplete("crown")(problem, Budget())]
    gained = 0
    for before, proven, verdict in zip(crown, good, LpVerifier(method)(problem, Budget()), strict=True):
        needed = "lp.exact" in proven.stats
        assert ("did not finish" in verdict.note) == needed
        assert verdict.margin >= before - 1e-9
        if proven.status != "falsified":  # a witness ends the search, here it goes on
            assert verdict.margin <= proven.margin + 1e-6
        if outcome == "failed" and proven.status == "verified":
            assert verdict.margin == pytest.approx(proven.margin, abs=1e-6)
        gained += verdict.status == "verified" and before <= 0
        left = "timeout" if outcome == "limit" and needed else "unknown"
        assert verdict.status in {"verified", left}
        assert verdict.witness is None
    assert gained >= 1


def test_rows_that_contradict_each_other_by_rounding_prove_nothing(network, monkeypatch):
    """Rows miss each other by 1e-11: multipliers of 1e13 lift their own bound by 100, those of a failed solver by nothing."""
    problem = _problem(network, 0.2, 1)
    relaxation = TriangleLp().open(problem.network, problem.input_set)
    forms = relaxation.output(problem.prop.rows())
    least = relaxation.least(forms, 0).bound
    program = relaxation.encoding.program
    row = np.zeros((2, program.count))
    row[:, 0] = 1.0
    middle = float(program.lower[0] + program.upper[0]) / 2
    bad = program.with_rows(row, np.array([middle + 1e-11, -math.inf]), np.array([math.inf, middle]))
    many = np.zeros(len(bad.low))
    many[-2:] = 1e13, -1e13
    assert bad.proven(forms.cost(0, bad.count), 0.0, many, 0.0) > least
    session = relaxation.session
    session.program = bad
    monkeypatch.setattr(type(session), "minimise", lambda *_: Solution("failed", None, many))
    assert relaxation.least(forms, 0).bound < least


def test_groups_keep_what_was_proven_before_a_program_failed(network, monkeypatch):
    problem = _problem(network, 0.2, 20)
    real, calls = MultiNeuron().open(problem.network, problem.take(torch.tensor([0])).input_set).session, 0
    minimise = type(real).minimise

    def second_fails(self, cost, seconds):
        nonlocal calls
        calls += self.program.count > 7  # the groups' own programs have seven variables
        found = minimise(self, cost, seconds)
        return found if calls < 2 else Solution("failed", None, np.zeros(len(self.program.low)))

    monkeypatch.setattr(type(real), "minimise", second_fails)
    seen = 0
    for i in range(20):
        one, calls = problem.take(torch.tensor([i])), 0
        method = MultiNeuron()
        relaxation = method.open(one.network, one.input_set)
        best = method.least(relaxation, relaxation.output(one.prop.rows()), 0)
        first = TriangleLp().open(one.network, one.input_set)
        calls = -9
        want = first.least(first.output(one.prop.rows()), 0)
        assert best.bound == pytest.approx(want.bound, abs=1e-7)
        if best.outcome == "failed":
            seen += 1
            assert len(best.earlier) == 1  # the minimiser of the program before still meets the network
            assert best.v is None
    assert seen >= 3


def test_time_runs_out_inside_a_solver():
    """A program that takes longer than it may is stopped, whatever was solved before it."""
    module, _ = random_mlp(0, (40, 60, 60, 2))
    prepared = Network.capture(module, (40,)).prepare()
    box = Box(torch.rand(1, 40, dtype=torch.float64), 0.5)
    rows = Property(torch.tensor([[[1.0, -1.0]], [[-1.0, 1.0]]], dtype=torch.float64)).rows()
    for solver in ("scipy", "highspy"):
        relaxation = TriangleLp(solver=solver).open(prepared, box)
        forms = relaxation.output(rows)
        full = relaxation.least(forms, 0)
        relaxation.until = engine.time.monotonic() + 1e-4
        cut = relaxation.least(forms, 1)
        assert full.outcome == "optimal"
        assert cut.outcome == "limit"
        relaxation.until = math.inf
        assert cut.bound <= relaxation.least(forms, 1).bound + 1e-9


def test_errors_of_the_caller_are_raised_and_others_are_verdicts(network, monkeypatch):
    def fails(self, network, input_set, until=math.inf):
        raise RuntimeError("told so")

    monkeypatch.setattr(TriangleLp, "open", fails)
    verdicts = LpVerifier()(_problem(network, 0.1, 2), Budget())
    assert {(v.status, v.note) for v in verdicts} == {("error", "RuntimeError: told so")}

    def refuses(self, network, input_set, until=math.inf):
        raise UnsupportedOp("told so")

    monkeypatch.setattr(TriangleLp, "open", refuses)
    with pytest.raises(UnsupportedOp):
        LpVerifier()(_problem(network, 0.1, 2), Budget())


def test_steps_of_a_ladder(network):
    problem = _problem(network, 0.2, 20)
    assert {"lp", "multi-neuron", "crown"} <= set(named_steps())
    assert "ladder" not in named_steps()
    steps = ("clean", "attack", "crown", "lp", LpVerifier(MultiNeuron(units=6), label="groups"))
    verdicts = Ladder(steps=steps)(problem, Budget())
    plain = Ladder(steps=("clean", "attack", "crown"))(problem, Budget())
    for before, after in zip(plain, verdicts, strict=True):
        if before.status != "unknown":
            assert (before.status, before.method) == (after.status, after.method)
    climbed = [v for v in verdicts if "groups" in v.stats]
    assert climbed
    assert all(v.stats["crown"] <= v.stats["lp"] + 1e-7 <= v.stats["groups"] + 2e-7 for v in climbed)
    with pytest.raises(BadConfig, match="did you mean 'lp'"):
        Ladder(steps=("clean", "lpp"))


def test_a_witness_of_the_lp_must_break_the_users_own_module(network):
    problem = _problem(network, 0.3)
    alone = Ladder(steps=("clean", "lp"))(problem, Budget())
    assert {v.method for v in alone if v.status == "falsified"} == {"lp"}
    assert all(v.stats["lp.found"] >= v.stats["lp"] - 1e-9 for v in alone if "lp.found" in v.stats)

    one = problem.take(torch.tensor([next(i for i, v in enumerate(alone) if v.status == "falsified")]))
    (verdict,) = Ladder(steps=("clean", "lp"), function=lambda x: one.prop.C[:, 0].sum(0).expand(len(x), -1))(one, Budget())
    assert verdict.status == "unknown"


def test_a_survey_keeps_proofs_and_found_margins_apart(network):
    x = torch.rand(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = network.module(x).argmax(1)
    batch = [(torch.arange(6), x, y)]
    lines = [
        line for line in survey(network, batch, lambda t: LpBall(t, 0.3), Ladder(steps=("clean", "lp"))) if line.kind == "instance"
    ]
    for line in lines:
        assert set(line.bounds) <= {"lp"}
        if line.by == "lp" and line.status == "falsified":
            assert line.attacked_margin <= 0
            assert line.exact["lp"] in (True, False)
    assert any(line.status == "falsified" for line in lines)
