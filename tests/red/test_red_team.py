"""The standing red team: nothing that the package says may be broken by the user's own module in its own precision."""

from __future__ import annotations

import pytest
from tests.red.corpora import check_known, fooled, verified_within
from tests.red.fooling import fooling
from tests.red.known import known
from tests.red.runs import LINES, told

BLOCK = 10


@pytest.mark.parametrize("first", range(0, 60, BLOCK))
def test_red_cases(first):
    lines = [LINES["red"](seed, whole=False) for seed in range(first, first + BLOCK)]
    assert not told(lines), f"\n{told(lines)}"
    refused = sum(any(r.startswith("capture") for r in line["refusals"]) for line in lines)
    assert refused <= BLOCK // 2, "nearly every network is refused"


@pytest.mark.parametrize("kind", ["known", "planted", "fooling"])
@pytest.mark.parametrize("first", range(0, 40, BLOCK))
def test_corpora(kind, first):
    lines = [LINES[kind](seed, whole=False) for seed in range(first, first + BLOCK)]
    assert not told(lines), f"\n{told(lines)}"
    asked = sum(sum(line["verdicts"].values()) for line in lines)
    assert asked >= 2 * BLOCK, "nearly everything is refused"


def test_cells():
    lines = [LINES["pictures"](seed, whole=False) for seed in range(8)]
    assert not told(lines), f"\n{told(lines)}"


def test_linear_and_corner_networks_are_verified():
    drawn = [k for k in map(known, range(48)) if k.group in ("linear", "corner")]
    proven = [verified_within(k) for k in drawn]
    failed = [(k.seed, k.family) for k, good in zip(drawn, proven, strict=True) if not good]
    assert len(failed) <= 0.05 * len(drawn), failed


def test_most_fooling_networks_are_broken_by_themselves():
    """Else the corpus would ask nothing."""
    assert sum(fooled(fooling(seed))[1][0] <= 0 for seed in range(28)) >= 14


@pytest.mark.parametrize("seed", [172, 508, 772])
def test_groups_of_units_of_very_different_size(seed):
    outcome = check_known(known(seed), only=["verifier multi-neuron"])
    assert not outcome.findings, f"known {seed}: {outcome.findings}"
