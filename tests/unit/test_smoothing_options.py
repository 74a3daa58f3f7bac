"""Options of sequential procedures: open intervals are open at both ends."""

from __future__ import annotations

import pytest

from epsball.errors import BadConfig
from epsball.smoothing.sequential import Sequential, Ville


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
