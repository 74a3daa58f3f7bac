"""The allowance itself, by rationals: never less than theory asks, and never much more."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from epsball.errors import BadConfig
from epsball.rounding import SLACK, ULPS, Ends, Rounding, gamma, outside, unit

HALF = Fraction(1, 2**24)  # unit roundoff of float32
FINE = Fraction(1, 2**53)


@pytest.mark.parametrize("terms", [1, 2, 3, 17, 1000, 10**6, 2**23])
@pytest.mark.parametrize(("dtype", "u"), [(torch.float32, HALF), (torch.float64, FINE)])
def test_gamma_is_highams(terms: int, dtype: torch.dtype, u: Fraction) -> None:
    exact = terms * u / (1 - terms * u)
    assert Fraction(unit(dtype)) == u
    assert abs(Fraction(gamma(terms, unit(dtype))) - exact) <= exact / 2**50


def test_gamma_says_nothing_where_everything_may_be_lost() -> None:
    assert gamma(2**24, 2.0**-24) == math.inf
    assert gamma(2**25, 2.0**-24) == math.inf
    assert gamma(2**24 - 1, 2.0**-24) == 2**24 - 1
    assert gamma(0, 2.0**-24) == 0


def test_two_arithmetics_are_given_away_together() -> None:
    mixed = Rounding(torch.float64, torch.float32)
    assert mixed.gamma(10, 0) == gamma(10, 2.0**-24)
    assert mixed.gamma(0, 10) == gamma(10, 2.0**-53)
    assert mixed.gamma(10, 20) == gamma(10, 2.0**-24) + gamma(20, 2.0**-53)
    assert mixed.elementwise == 2 * ULPS * (2.0**-24 + 2.0**-53)
    assert mixed.tiny == Rounding(torch.float32, torch.float64).tiny == 2.0**-126
    assert Rounding(torch.float64, torch.float64).tiny == 2.0**-1022
    assert Rounding(torch.float64, None).gamma(10, 0) == 0
    assert Rounding(torch.float64, None).gamma(10, 3) == gamma(3, 2.0**-53)
    # a witness of a float64 module is looked at in the bound's float32: the coarser of both counts
    assert Rounding(torch.float32, torch.float64).of_module == 2.0**-24


def test_the_assumptions_are_those_of_the_docs() -> None:
    """Fewer would be no error that a network shows every time: four units a function, sixteen roundings besides a sum's."""
    assert ULPS >= 4
    assert SLACK >= 16


def test_the_claim_names_both_arithmetics() -> None:
    assert Rounding(torch.float32, torch.float64).describe() == "float64, any order of sums, bounds in float32"
    assert Rounding(torch.float64, None).describe() == "real, bounds in float64 with their rounding given away"


@pytest.mark.parametrize("pair", [(torch.float16, None), (torch.float32, torch.bfloat16), (torch.float16, torch.float64)])
def test_narrow_arithmetics_are_refused(pair) -> None:
    with pytest.raises(BadConfig, match=r"float32 or float64, not torch\.b?float16"):
        Rounding(*pair)


def test_ends_move_outwards_by_a_share_of_their_terms() -> None:
    low, high = torch.tensor([-1.0, 1.0, 0.5]), torch.tensor([2.0, 3.0, 4.0])
    sizes = torch.tensor([8.0, 16.0, 32.0]), torch.tensor([64.0, 32.0, 8.0])
    moved = outside(Ends(low, high, *sizes), 2.0**-5, 2.0**-10)
    assert moved[0].tolist() == [-1.25 - 2**-10, 0.5 - 2**-10, -0.5 - 2**-10]
    assert moved[1].tolist() == [4.0 + 2**-10, 4.0 + 2**-10, 4.25 + 2**-10]
    assert outside(Ends(low, high, *sizes), 0.0)[0].tolist() == low.tolist()


def test_an_end_of_one_sign_does_not_cross_zero() -> None:
    """Terms that are all of at least 0 add up to at least 0 in floating point, too; terms of both signs may cross."""
    low, high = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([-1.0, -1.0, 0.0])
    moved = outside(Ends(low, high, torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])), 2.0, 0.5)
    assert moved[0].tolist() == [0.0, -3.5, 0.0]
    assert moved[1].tolist() == [0.0, 3.5, 0.0]
