"""Time and failures of a batch: what is not reached is a timeout, what fails is that sample's error, and nothing else is lost."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig, BadShape, MissingExtra, Unsound, UnsupportedOp
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.verification.base import Evidence
from epsball.verification.guarded import Answer, equal_share, guarded
from epsball.verification.ladder import Ladder


def _problem(count: int = 7) -> Problem:
    """The number of a sample is its first feature; every output is (1, 0)."""
    x = torch.stack((torch.arange(float(count)), torch.zeros(count)), 1)
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.zero_()
        module.bias.copy_(torch.tensor([1.0, 0.0]))
    return Problem(Network.capture(module, (2,)).prepare(), Box(x, 0.0), robust(torch.zeros(count, dtype=torch.int64), 2))


def _numbers(part: Problem) -> list[int]:
    return part.input_set.centre[:, 0].int().tolist()


def _fails_at(*bad: int, kind: type[BaseException] = RuntimeError):
    """Decides that a sample's margin is its number, and raises where a bad one is among them."""
    asked = []

    def decide(part: Problem, _: Budget) -> list[Answer]:
        asked.append(_numbers(part))
        if set(bad) & set(asked[-1]):
            raise kind("told so\nand more")
        return [Answer("unknown", float(n), found=n + 0.5, exact=n % 2 == 0, note=f"no {n}") for n in asked[-1]]

    return decide, asked


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_an_answer_is_a_verdict_with_its_evidence(chunk):
    decide, asked = _fails_at()
    verdicts = guarded(_problem(), Budget(), decide, name="mine", chunk=chunk)
    assert [n for part in asked for n in part] == list(range(7))
    assert max(map(len, asked)) == min(chunk, 7)
    for n, v in enumerate(verdicts):
        assert (v.status, v.margin, v.method, v.note, v.witness) == ("unknown", n, "mine", f"no {n}", None)
        assert v.evidence == (Evidence("mine", n, n + 0.5, n % 2 == 0, v.seconds),)
        assert (v.found, v.proven) == (n + 0.5, {"mine": n})
        assert "float32" in v.arithmetic


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_one_failed_sample_loses_no_other(chunk):
    decide, _ = _fails_at(2, 4)
    verdicts = guarded(_problem(), Budget(), decide, name="mine", chunk=chunk)
    assert [v.status for v in verdicts] == ["error" if n in (2, 4) else "unknown" for n in range(7)]
    assert [v.note for v in verdicts] == ["RuntimeError: told so" if n in (2, 4) else f"no {n}" for n in range(7)]
    assert all(math.isnan(v.margin) and math.isnan(v.proven["mine"]) and v.found is None for v in verdicts if v.status == "error")
    assert [v.margin for v in verdicts if v.status != "error"] == [0.0, 1.0, 3.0, 5.0, 6.0]


def test_an_attack_that_fails_on_one_sample_leaves_it_to_the_bounds():
    def attack(function, input_set, prop, generator):
        if bool((input_set.centre[:, 0] == 2).any()):
            raise RuntimeError("told so")
        return SimpleNamespace(x=input_set.centre)

    verdicts = Ladder(("clean", "attack", "ibp"), attack=attack)(_problem(), Budget())
    assert [v.note for v in verdicts] == ["attack: RuntimeError: told so" if n == 2 else "" for n in range(7)]
    assert [list(v.steps) for v in verdicts] == [["clean", *["attack"] * (n != 2), "ibp"] for n in range(7)]
    assert {(v.status, v.method) for v in verdicts} == {("verified", "ibp")}


@pytest.mark.parametrize("kind", [BadShape, UnsupportedOp, MissingExtra, BadConfig, KeyboardInterrupt])
@pytest.mark.parametrize("chunk", [1, 100])
def test_an_error_of_the_caller_and_ctrl_c_are_raised(kind, chunk):
    decide, asked = _fails_at(1, kind=kind)
    with pytest.raises(kind):
        guarded(_problem(), Budget(), decide, name="mine", chunk=chunk)
    assert len(asked) == (2 if chunk == 1 else 1)


def test_what_the_budget_does_not_reach_is_a_timeout(monkeypatch):
    now, given = [0.0], []
    monkeypatch.setattr("epsball.verification.guarded.time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0]))

    def slow(part: Problem, budget: Budget) -> list[Answer]:
        given.append(budget.seconds)
        now[0] += 3.0
        return [Answer("verified", 1.0)] * len(part)

    verdicts = guarded(_problem(), Budget(seconds=6.0), slow, name="slow", chunk=2)
    assert [v.status for v in verdicts] == ["verified"] * 4 + ["timeout"] * 3
    assert [v.seconds for v in verdicts] == [1.5] * 4 + [0.0] * 3
    assert all(math.isnan(v.margin) and v.method == "slow" for v in verdicts[4:])
    assert given == [6.0, 3.0]
    given.clear()
    guarded(_problem(), Budget(seconds=21.0), slow, name="slow", spend=equal_share)
    assert given == [3.0] * 7
    given.clear()
    guarded(_problem(2), Budget(), slow, name="slow", spend=equal_share)
    assert given == [math.inf] * 2


def test_time_that_runs_out_while_a_chunk_is_tried_again_is_a_timeout(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("epsball.verification.guarded.time", SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0]))
    decide, _ = _fails_at(0)

    def slow(part: Problem, budget: Budget) -> list[Answer]:
        now[0] += 1.0
        return decide(part, budget)

    verdicts = guarded(_problem(4), Budget(seconds=3.0), slow, name="slow", chunk=4)
    assert [v.status for v in verdicts] == ["error", "unknown", "timeout", "timeout"]


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_no_answer_is_verified_without_a_margin(margin):
    with pytest.raises(Unsound, match="calls a sample verified"):
        guarded(_problem(), Budget(), lambda part, _: [Answer("verified", margin)] * len(part), name="mine")


def test_an_answer_for_each_sample_and_none_for_no_sample():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        guarded(_problem(), Budget(), lambda *_: [], name="mine")
    assert guarded(_problem().take(torch.zeros(0, dtype=torch.int64)), Budget(), lambda *_: [], name="mine") == []


@pytest.mark.parametrize("chained", ["cause", "context"])
def test_an_interrupt_behind_another_error_is_an_interrupt(chained):
    """An extension that is interrupted as it is imported says "ImportError: initialization failed", and that would be a verdict."""

    def decide(_: Problem, __: Budget) -> list[Answer]:
        try:
            raise KeyboardInterrupt  # noqa: TRY301
        except KeyboardInterrupt as stop:
            if chained == "cause":
                raise ImportError("initialization failed") from stop
            raise ImportError("initialization failed")  # noqa: B904 - as a C extension leaves it

    with pytest.raises(KeyboardInterrupt):
        guarded(_problem(), Budget(), decide, name="mine", chunk=3)
