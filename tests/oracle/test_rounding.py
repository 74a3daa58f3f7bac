"""Every bound holds for every evaluation of the network: in any order of summation, in its own precision, and in rationals.

The evaluations and the networks are of numpy and fractions alone (`float_orders`, `float_nets`). No allowance anywhere: a value
that lies one unit in the last place outside its bound fails.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from tests.float_check import Tally, captured, compare, hold, reached
from tests.float_nets import FAMILIES, case
from tests.float_orders import ORDERS, Sums


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "first"), [(np.float32, 0), (np.float64, len(FAMILIES))])
def test_no_evaluation_lies_outside_any_bound(dtype, first):
    """A network of each family; a thousand of them are held in `benchmarks.rounding`."""
    tally, families = Tally(), Counter()
    for seed in range(first, first + len(FAMILIES)):
        family, found = compare(seed, dtype)
        tally.join(found)
        families[family] += 1
    assert not tally.outside, "\n".join(tally.outside[:20])
    assert families == dict.fromkeys(FAMILIES, 1)


def test_the_same_comparison_finds_bounds_that_give_nothing_away():
    found = []
    for seed in range(len(FAMILIES)):
        tried, tally = case(seed), Tally()
        hold(tried, captured(tried).prepare(torch.float64, "nothing"), reached(tried, seed)[0], f"seed {seed}", tally)
        found.append(len(tally.outside) / tally.bounds)
    assert sum(share > 0.2 for share in found) >= len(FAMILIES) - 1


@pytest.mark.parametrize("order", ORDERS)
def test_orders_add_up_the_same_numbers(order):
    rng = np.random.default_rng(0)
    left, right = rng.integers(-9, 9, (4, 3, 7)).astype(np.float32), rng.integers(-9, 9, (4, 3, 7)).astype(np.float32)
    assert (Sums(order, left.dtype, rng).products(left, right, 0) == (left * right).sum(-1)).all()
    swallowed = np.array([[2.0**24] + [1.0] * 9], np.float32)
    lost = float(Sums(order, swallowed.dtype, rng).products(swallowed, np.ones_like(swallowed), 0)[0]) - 2.0**24
    assert lost == {"left": 0, "right": 8, "hostile down": 0}.get(order, lost)
