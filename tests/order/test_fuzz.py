"""Thirty random cases of the fuzzer, and the proof that it would see a bound that is too good, NaN, or out of order."""

from __future__ import annotations

from collections import Counter

import torch
from benchmarks import fuzz


def test_thirty_random_cases_break_nothing():
    tally = Counter()
    failures = list(fuzz.run(seed=7, first=0, count=30, draws=15, steps=1, tally=tally))
    assert not failures, failures
    assert tally["cases"] == 30
    assert tally["bounds"] >= 30 * len(fuzz.METHODS) * 2
    assert {key.split()[1] for key in tally if key.startswith("set ")} >= {"linf", "l2", "l1", "l0", "box", "product"}


def test_a_case_is_the_same_when_it_is_repeated_alone():
    tallies = []
    for first, count in ((0, 3), (2, 1)):
        tally = Counter()
        assert not list(fuzz.run(seed=3, first=first, count=count, draws=3, steps=1, tally=tally))
        tallies.append({key for key in tally if key.startswith(("network", "op"))})
    assert tallies[0] == tallies[1]


def _bounds(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2, 2) for name in fuzz.METHODS} | changed


def test_the_judge_sees_what_is_wrong():
    least = torch.full((2, 2), 0.5)
    assert not list(fuzz.judge(0, _bounds(), least, 1e-8))
    high, both = torch.tensor([[0.0, 0.6], [0.0, 0.0]]), torch.full((2, 2), 0.4)
    found = list(fuzz.judge(3, _bounds(ibp=high, intersection=both), least, 1e-8))
    assert [(f.case, f.method, f.what) for f in found] == [
        (3, "ibp", "above a value that was found"), (3, "intersection < ibp", "order"),
    ]  # fmt: skip
    (nan,) = fuzz.judge(0, _bounds(zonotope=torch.full((2, 2), float("nan"))), least, 1e-8)
    assert nan.what == "NaN"
    worse = fuzz.judge(0, _bounds(**{"alpha-crown": torch.full((2, 2), -1.0)}), least, 1e-8)
    assert [f.method for f in worse] == ["alpha-crown < crown"]
