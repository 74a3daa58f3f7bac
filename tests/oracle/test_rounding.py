"""Every bound holds for every evaluation of the network: in any order of summation, in its own precision, and in rationals.

The evaluations and the networks are of numpy and fractions alone (`float_orders`, `float_nets`). No allowance anywhere: a value
that lies one unit in the last place outside its bound fails.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch

from epsball.bounding.alpha import AlphaCrown, AlphaCrownAll
from epsball.bounding.base import bounders
from epsball.graph.capture import capture
from epsball.graph.network import Network
from epsball.graph.plan import Prepared, plan
from epsball.rows import Rows
from epsball.spec.sets import Box
from float_nets import FAMILIES, OUTPUTS, Case, case
from float_orders import ORDERS, Sums

METHODS = {name: method() for name, method in bounders.items()}
METHODS |= {"alpha-crown": AlphaCrown(steps=3), "alpha-crown-all": AlphaCrownAll(steps=2)}
FORMS = np.concatenate((np.eye(OUTPUTS), -np.eye(OUTPUTS), np.array([[1, -1, 0], [0, 1, -1], [-1, 0, 1]]))).astype(int)


@dataclass
class Tally:
    """What was compared, and what lay outside."""

    bounds: int = 0
    outside: list[str] = field(default_factory=list)
    families: Counter[str] = field(default_factory=Counter)


def least(values: np.ndarray) -> list[list[Fraction]]:
    """The exact least value of each form at each box, of evaluations (B, E, K)."""
    found = [[[Fraction(v) if isinstance(v, Fraction) else Fraction(float(v)) for v in y] for y in box] for box in values]
    pairs = [[(int(c), k) for k, c in enumerate(form) if c] for form in FORMS]
    return [[min(sum(c * y[k] for c, k in pair) for y in box) for box in found] for pair in pairs]


def compare(seed: int, dtype: type, tally: Tally) -> None:
    """One network with every method, in both precisions, for the module and for real numbers."""
    tried = case(seed, dtype)
    network = Network(tried.module, plan(capture(tried.module, tried.network.shape)))  # unchecked: capture compares in floats
    outputs, exact = tried.outputs(np.random.default_rng(seed)), tried.exact()
    assert all(np.isfinite(y).all() for y in outputs.values())
    floats = least(np.concatenate(list(outputs.values()), 1))
    tally.families[tried.family] += 1
    for own in (torch.float32, torch.float64):
        hold(tried, network.prepare(own), floats, (seed, "module"), tally)
        if exact is not None:
            hold(tried, network.prepare(own, "real"), least(exact), (seed, "real"), tally)


def hold(tried: Case, network: Prepared, reached: list[list[Fraction]], what: tuple[int, str], tally: Tally) -> None:
    """No method's bound lies above the least value that was reached."""
    box = Box(torch.from_numpy(tried.centre), torch.from_numpy(tried.radii.astype(np.float64))).to(network.dtype, network.device)
    rows = Rows(torch.from_numpy(FORMS).to(network.dtype)[:, None].expand(-1, len(tried.centre), -1))
    for name, method in METHODS.items():
        with torch.no_grad():
            bounds = method(network, box, rows).double()
        for form, boxes in enumerate(bounds.tolist()):
            for place, bound in enumerate(boxes):
                tally.bounds += 1
                if math.isnan(bound) or (math.isfinite(bound) and Fraction(bound) > reached[form][place]):
                    far = float(Fraction(bound) - reached[form][place]) if math.isfinite(bound) else math.nan
                    where = f"seed {what[0]} ({tried.family}, {tried.centre.dtype}) {name} in {network.dtype}, {what[1]}"
                    tally.outside.append(f"{where}: form {form}, box {place}: {bound!r} is too high by {far:.3g}")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_evaluation_lies_outside_any_bound(dtype):
    tally = Tally()
    for seed in range(3 * len(FAMILIES)):
        compare(seed, dtype, tally)
    assert not tally.outside, "\n".join(tally.outside[:20])
    assert tally.families == dict.fromkeys(FAMILIES, 3)


def test_the_same_comparison_finds_bounds_that_give_nothing_away():
    found = []
    for seed in range(len(FAMILIES)):
        tried, tally = case(seed), Tally()
        floats = least(np.concatenate(list(tried.outputs(np.random.default_rng(seed)).values()), 1))
        network = Network(tried.module, plan(capture(tried.module, tried.network.shape)))
        hold(tried, network.prepare(torch.float64, "nothing"), floats, (seed, "nothing"), tally)
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
