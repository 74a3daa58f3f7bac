"""The ladder: each step on what is open, witnesses on the user's module, and contradictions raised."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import zoo
from epsball.attacks.fgsm import FGSM
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import LpBall
from epsball.verification.base import Verdict, Witness
from epsball.verification.incomplete import Incomplete
from epsball.verification.ladder import STEPS, Ladder
from epsball.verification.soundness import contradiction

EPS = 0.08


@pytest.fixture(scope="module")
def network() -> Network:
    return Network.capture(*zoo.build("mlp", seed=4))


def _problem(network: Network, eps: float = EPS, count: int = 60) -> Problem:
    """The label is the prediction, but for every tenth sample."""
    x = torch.rand(count, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = network.module(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3
    return Problem(network.prepare(), LpBall(x, eps, clip=(0.0, 1.0)), robust(y, 3))


@dataclass(frozen=True)
class Optimist:
    """A broken bound method: too high by a constant."""

    by: float

    def __call__(self, network, input_set, rows):
        return Crown()(network, input_set, rows) + self.by


def test_each_step_settles_what_it_can_and_the_union_is_verified(network):
    problem = _problem(network)
    verdicts = Ladder()(problem, Budget())
    assert {v.method for v in verdicts if v.status == "misclassified"} == {"clean"}
    assert {v.method for v in verdicts if v.status == "falsified"} == {"attack"}
    proven = {n: m()(problem.network, problem.input_set, problem.prop.rows()).amin(0) for n, m in bounders.items()}
    union = torch.stack(list(proven.values())).amax(0) > 1e-5
    assert [v.status == "verified" for v in verdicts] == union.tolist()
    assert len({v.method for v in verdicts if v.status == "verified"}) > 1
    assert [v.method == "clean" for v in verdicts] == [i % 10 == 0 for i in range(60)]
    for i, v in enumerate(verdicts):
        tried = [one.method for one in v.evidence]
        order = ["clean", "attack", "ibp", "crown-ibp", "crown"]
        assert tried == order[: len(tried)]
        assert v.method == tried[-1]
        for method in tried[2:]:
            assert v.proven[method] == pytest.approx(float(proven[method][i]), abs=1e-5)
        assert sum(one.seconds for one in v.evidence) == pytest.approx(v.seconds)
        assert [(one.found is None, one.proven is None) for one in v.evidence] == [(k in tried[2:], k in tried[:2]) for k in tried]


def test_running_everywhere_changes_no_verdict_and_tries_everything(network):
    problem = _problem(network)
    plain, audited = Ladder()(problem, Budget()), Ladder(everywhere=STEPS)(problem, Budget())
    assert [(v.status, v.method) for v in plain] == [(v.status, v.method) for v in audited]
    assert all({"clean", "ibp", "crown-ibp", "crown"} <= set(v.steps) for v in audited)
    assert all("attack" in v.steps for v in audited if v.method != "clean")


def test_a_witness_breaks_the_users_own_module(network):
    problem = _problem(network)
    for i, v in enumerate(Ladder()(replace(problem, function=network.module), Budget())):
        assert (v.witness is not None) == (v.status in ("misclassified", "falsified"))
        if v.witness is not None:
            one = problem.take(torch.tensor([i]))
            assert torch.equal(one.input_set.project(v.witness.x[None])[0], v.witness.x)
            with torch.no_grad():
                y = network.module(v.witness.x[None])
            torch.testing.assert_close(y[0], v.witness.y)
            assert float(one.prop.margins(y).amin()) <= 1e-6


def test_a_witness_that_the_module_withstands_is_none(network):
    """The prepared network is attacked, but the user's module is another one: nothing is falsified by it."""
    problem = _problem(network, 0.3)
    sure = nn.Sequential(network.module, Scaled(problem))
    attacked = [v.method for v in Ladder(steps=("attack", "ibp"))(problem, Budget())]
    withstood = [v.method for v in Ladder(steps=("attack", "ibp"))(replace(problem, function=sure), Budget())]
    assert attacked.count("attack") > 10
    assert withstood.count("attack") == 0


@dataclass(frozen=True)
class Claims:
    """A step that calls the nominal input a counterexample."""

    name: str = "claims"

    def __call__(self, problem, budget):
        return [Verdict("falsified", -1.0, self.name, "", 0.0, Witness(x, torch.zeros(3))) for x in problem.input_set.centre]


def test_a_steps_witness_is_judged_on_the_module_alone(network):
    problem = _problem(network)
    sure, never = (nn.Sequential(network.module, Scaled(problem, by)) for by in (1.0, -1.0))
    for i in (0, 1):  # the captured network is wrong on the first and right on the second
        one = problem.take(torch.tensor([i]))
        for judge, status in ((sure, "unknown"), (never, "falsified")):
            module = nn.Sequential(judge, Row(i))
            (verdict,) = Ladder((Claims(),))(replace(one, function=module), Budget())
            assert verdict.status == status
            assert (verdict.witness is None) == (status == "unknown")
            assert verdict.found == (1.0 if status == "unknown" else -1.0)
            assert verdict.witness is None or torch.equal(verdict.witness.y, -judge[1].answer[i].abs())


class Row(nn.Module):
    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return y[self.at : self.at + 1]


class Scaled(nn.Module):
    """Answers with each sample's label, whatever comes in; by a negative scale never with it."""

    def __init__(self, problem: Problem, by: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("answer", by * (problem.prop.C > 0).any(0).float())

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.answer + 0 * y


@pytest.mark.parametrize("everywhere", [(), ("optimist",)])
def test_a_wrong_bound_is_found(network, everywhere):
    """Too high by 50, it proves what was attacked; where it runs on open samples alone, it lies above the margins found."""
    steps = ("clean", "attack", "ibp", Incomplete(Optimist(50.0), label="optimist"))
    plain = Ladder(steps=steps[:3])(_problem(network), Budget())
    verdicts = Ladder(steps=steps, everywhere=everywhere)(_problem(network), Budget())
    wrong = [v for v in verdicts if v.note]
    assert len(wrong) == 60 if everywhere else len(wrong) == sum(v.status == "unknown" for v in plain) > 0
    for verdict, before in zip(verdicts, plain, strict=True):
        if verdict.note:
            assert verdict.status == "error"
            assert re.match("contradiction: 'optimist' proves a margin of at least .* but '(clean|attack)' found", verdict.note)
        else:
            assert verdict.status == before.status  # no other verdict is lost


def test_only_a_step_that_runs_everywhere_bounds_what_an_attack_settled(network):
    """A bound that is wrong on attacked samples alone is seen when these are bounded too."""
    problem, attack = _problem(network, 0.3), PGD(start="nominal")
    plain = Ladder(steps=("clean", "attack"), attack=attack)(problem, Budget())
    attacked = problem.take(torch.tensor([i for i, v in enumerate(plain) if v.status == "falsified" and v.method == "attack"]))
    steps = ("clean", "attack", Incomplete(Optimist(1.0), label="optimist"))
    verdicts = Ladder(steps=steps, attack=attack)(attacked, Budget())
    assert {v.method for v in verdicts} == {"attack"}
    assert all("optimist" not in v.steps for v in verdicts)
    seen = Ladder(steps=steps, attack=attack, everywhere=("optimist",))(attacked, Budget())
    assert any(v.status == "error" and "'optimist' proves" in v.note for v in seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["affine_only", "conv", "leaky", "residual"])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.05])
def test_exact_bounds_and_attacks_do_not_contradict_each_other(name, eps):
    """On an affine network, and on points, the proven and the attacked margin are one number up to rounding."""
    network = Network.capture(*zoo.build(name))
    x = torch.rand(8, *network.input_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = network.module(x).argmax(1)
    for dtype in (torch.float32, torch.float64):
        problem = Problem(network.prepare(dtype), LpBall(x.to(dtype), eps), robust(y, 3, dtype), network.module)
        verdicts = Ladder(everywhere=STEPS)(problem, Budget())
        assert all({"clean", "attack"} <= set(v.steps) for v in verdicts)
        assert all(v.margin <= v.found + 1e-4 for v in verdicts)


def test_contradictions_by_hand():
    check = {"dtype": torch.float32}
    assert not contradiction({"attack": -0.1}, {"ibp": -0.2, "crown": math.nan}, **check)
    assert not contradiction({"attack": 0.2}, {"ibp": 0.19999}, **check)
    assert not contradiction({"attack": math.nan}, {"ibp": 5.0}, **check)
    assert not contradiction({"attack": -5e-7}, {"ibp": 5e-7}, **check)  # roundings of C y + d itself
    assert not contradiction({"attack": -5e-4}, {"ibp": 5e-4}, scale=1e3, **check)
    for found, proven in ((-5e-6, 5e-6), (0.1, 0.2), (-0.3, -0.2)):
        assert "'ibp' proves" in contradiction({"attack": found}, {"ibp": proven}, **check)


@dataclass(frozen=True)
class Fails:
    kind: type[BaseException]

    def __call__(self, *_):
        raise self.kind("told so")


def test_a_failing_step_never_answers(network):
    problem = _problem(network)
    good = Ladder(attack=FGSM())(problem, Budget())
    steps = ("clean", Incomplete(Fails(RuntimeError), label="broken"))
    failed = Ladder(steps=steps)(problem, Budget())
    assert {v.status for v in failed if v.method != "clean"} == {"error"}
    assert failed[1].note == "RuntimeError: told so"
    proven = Ladder(attack=Fails(RuntimeError))(problem, Budget())
    assert [v.status == "verified" for v in proven] == [v.status == "verified" for v in good]
    assert {v.status for v in proven} == {"verified", "misclassified", "error"}
    assert any("attack: RuntimeError" in v.note for v in proven)
    with pytest.raises(KeyboardInterrupt):
        Ladder(attack=Fails(KeyboardInterrupt))(problem, Budget())


def test_a_spent_budget_is_a_timeout(network):
    problem = _problem(network)
    verdicts = Ladder()(problem, Budget(seconds=1e-9))
    assert {v.status for v in verdicts} == {"timeout"}
    assert all(math.isnan(v.margin) for v in verdicts)


def test_the_same_seed_gives_the_same_verdicts(network):
    problem = _problem(network, 0.15)
    torch.manual_seed(1)
    first = Ladder(attack=PGD(steps=3))(problem, Budget())
    torch.manual_seed(2)
    again = Ladder(attack=PGD(steps=3))(problem, Budget())
    assert [v.found for v in first] == [v.found for v in again]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (("clean", "atack"), "did you mean 'attack'"),
        ((), "empty"),
        (("ibp", Incomplete("ibp")), "label of its own"),
    ],
)
def test_bad_steps_say_what_is_wrong(steps, says):
    with pytest.raises(BadConfig, match=says):
        Ladder(steps=steps)
