"""Bound methods as verifiers: a proof or nothing; time-outs and failures kept apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

import zoo
from epsball.bounding.base import bounders
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig, UnsupportedOp
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, LpBall
from epsball.verification.base import verifiers
from epsball.verification.incomplete import Incomplete


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.capture(*zoo.build("mlp", seed=5, dtype=torch.float64))


def _problem(network: Network, eps: float, count: int = 8) -> Problem:
    x = torch.rand(count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        y = network.module(x).argmax(1)
    return Problem(network.prepare(), LpBall(x, eps), robust(y, 3, torch.float64))


@dataclass(frozen=True)
class Says:
    """A bound method that returns or raises what it is told."""

    value: float = 0.0
    raises: type[Exception] | None = None

    def __call__(self, network, _, rows: Rows) -> torch.Tensor:
        if self.raises:
            raise self.raises("told so\nand more")
        return torch.full(rows.values.shape[:2], self.value, dtype=network.dtype)


@pytest.mark.parametrize("name", ["ibp", "crown-ibp", "crown"])
def test_a_verdict_is_the_bound_methods_own_margin(network, name):
    problem = _problem(network, 0.05, 60)
    want = bounders[name]()(problem.network, problem.input_set, problem.prop.rows()).amin(0)
    verdicts = Incomplete(name)(problem, Budget())
    assert [v.margin for v in verdicts] == pytest.approx(want.tolist(), rel=1e-12)
    assert [v.status for v in verdicts] == ["verified" if m > 1e-10 else "unknown" for m in want.tolist()]
    assert {v.status for v in verdicts} == {"verified", "unknown"}
    assert all(v.method == name and v.proven == {name: v.margin} and v.found is v.witness is None for v in verdicts)
    assert all("float64" in v.arithmetic and v.seconds >= 0 for v in verdicts)


def test_chunks_change_nothing(network):
    problem = _problem(network, 0.03)
    together, alone = (Incomplete("crown", chunk=n)(problem, Budget()) for n in (8, 3))
    assert [v.margin for v in together] == pytest.approx([v.margin for v in alone], rel=1e-12)


def test_options_and_label_of_a_method(network):
    problem = _problem(network, 0.05)
    same = Incomplete(Crown(slope="same"), label="same")
    assert same.name == "same"
    assert Incomplete(Crown(slope="same")).name == "crown"
    adaptive = Incomplete("crown")(problem, Budget())
    assert [v.margin for v in same(problem, Budget())] != [v.margin for v in adaptive]


@pytest.mark.parametrize(
    ("value", "status"),
    [(1e-9, "verified"), (1e-300, "verified"), (0.0, "unknown"), (-1.0, "unknown"), (math.nan, "unknown"), (-math.inf, "unknown")],
)
def test_only_a_margin_above_zero_is_a_proof(network, value, status):
    verdicts = Incomplete(Says(value), label="says")(_problem(network, 0.1), Budget())
    assert {v.status for v in verdicts} == {status}


def test_the_offset_of_a_property_is_added(network):
    problem = _problem(network, 0.0, 2)
    moved = Problem(problem.network, problem.input_set, Property(problem.prop.C, torch.tensor([[3.0, 3.0], [-3.0, -3.0]])))
    plain = Incomplete("ibp")(problem, Budget())
    rows = problem.prop.margins(problem.network.forward(problem.input_set.centre))
    assert [v.margin for v in plain] == pytest.approx(rows.amin(0).tolist())
    assert [v.margin for v in Incomplete("ibp")(moved, Budget())] == pytest.approx((rows[1] - 3).tolist())


def test_a_single_precision_set_is_widened_for_double_bounds(network):
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(1))
    problem = Problem(network.prepare(), Box(x, 0.01), robust(torch.zeros(4, dtype=torch.long), 3))
    assert all(math.isfinite(v.margin) and "float64" in v.arithmetic for v in Incomplete("ibp")(problem, Budget()))


def test_a_failed_chunk_is_an_error_and_names_its_reason(network):
    verdicts = Incomplete(Says(raises=RuntimeError), label="says")(_problem(network, 0.1), Budget())
    assert {v.status for v in verdicts} == {"error"}
    assert verdicts[0].note == "RuntimeError: told so"
    assert math.isnan(verdicts[0].margin)


def test_an_error_of_the_caller_and_ctrl_c_are_raised(network):
    for kind in (UnsupportedOp, KeyboardInterrupt):
        with pytest.raises(kind):
            Incomplete(Says(raises=kind), label="says")(_problem(network, 0.1), Budget())


def test_what_the_budget_does_not_reach_is_a_timeout(network, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr("epsball.verification.guarded.time", clock)

    def slow(network, _, rows):
        now[0] += 3.0
        return torch.ones(rows.values.shape[:2], dtype=network.dtype)

    verifier = Incomplete(slow, label="slow", chunk=2)
    verdicts = verifier(_problem(network, 0.1), Budget(seconds=5.0))
    assert [v.status for v in verdicts] == ["verified"] * 4 + ["timeout"] * 4
    assert [v.seconds for v in verdicts] == [1.5] * 4 + [0.0] * 4
    assert [v.status for v in verifier(_problem(network, 0.1), Budget())] == ["verified"] * 8


def test_bad_options_say_what_is_wrong():
    with pytest.raises(BadConfig, match="did you mean 'crown'"):
        Incomplete("crwon")
    with pytest.raises(BadConfig, match="at least 1"):
        Incomplete(chunk=0)
    with pytest.raises(BadConfig, match="ladder"):
        verifiers["lader"]
