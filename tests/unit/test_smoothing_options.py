"""Options of sequential procedures: open intervals are open at both ends."""

from __future__ import annotations

import numpy as np
import pytest

from epsball.errors import BadConfig
from epsball.smoothing.statistics.boundary import Boundary
from epsball.smoothing.statistics.sequential import Sequential, Ville


@pytest.mark.parametrize("kind", [Ville, Sequential])
@pytest.mark.parametrize(
    "options",
    [
        {"final": 0.0}, {"final": 1.0}, {"give_up": 0.0}, {"give_up": 1.0}, {"tolerance": -1e-9}, {"tolerance": float("nan")},
        {"cap": 0}, {"first": 0}, {"growth": 0.0}, {"growth": float("nan")},
    ],
)  # fmt: skip
def test_options_that_are_refused(kind, options) -> None:
    with pytest.raises(BadConfig, match=r"must lie inside|needs a cap"):
        kind(**options)


def test_options_at_the_edge_of_what_is_allowed() -> None:
    assert Ville(final=1e-9, give_up=1 - 1e-9, tolerance=0.0, cap=1, first=1, growth=1e-9).looks().tolist()[-1] == 1


@pytest.mark.parametrize("looks", [[], [0], [0, 5], [-1, 2], [3, 3], [5, 4], [1, 2, 2]])
def test_looks_increase_from_at_least_one(looks: list[int]) -> None:
    counts = np.array(looks, dtype=np.int64)
    with pytest.raises(BadConfig, match="must increase from at least 1"):
        Boundary(0.5, counts, counts + 1, counts - counts - 1)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.5, float("nan")])
def test_no_sample_decides_at_the_ends(p: float) -> None:
    counts = np.array([5], dtype=np.int64)
    with pytest.raises(BadConfig, match="no sample decides"):
        Boundary(p, counts, counts, counts)
