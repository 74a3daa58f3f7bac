"""Contracts of every bound method where two branches meet: each pair of non-linear operators on one shared input.

The oracle is dense sampling of the module itself. What is bounded apart in two branches is independent: a method that lets it
cancel is caught by a pair whose errors have opposite signs, and no other network shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import pair_zoo
import zoo
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.base import bounders, output_interval
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.ops.elementwise import relaxations
from epsball.ops.network import Network
from epsball.problem.sets import Box

MEET: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"difference": torch.sub, "product": torch.mul, "maximum": torch.maximum}
METHODS = {name: method() for name, method in bounders.items()}
METHODS |= {"alpha-crown": AlphaCrown(steps=2), "alpha-crown-all": AlphaCrownAll(steps=2)}
METHODS |= {f"zonotope-{slope}": Zonotope(slope=slope, meet=slope == "zero") for slope in ("adaptive", "zero")}
# samples of the methods that take much longer than the others
FEW = {"alpha-crown": [0, 3], "alpha-crown-all": [3], "dual": [0, 3], "zonotope-adaptive": [1, 4], "zonotope-zero": [2, 3]}
COUNT = len(pair_zoo.NAMES)
FIRST, SECOND = torch.triu_indices(COUNT, COUNT)

# the two arguments are x0 + x1 / 2 and x0 - x1 / 2: one number where x1 is 0 and stays there
CENTRES = torch.tensor([[0.8, 0.0], [-0.2, 0.0], [-1.5, 0.0], [0.3, 0.4], [1.0, -0.8]], dtype=torch.float64)
RADII = torch.tensor([[1.2, 0.0], [0.5, 0.0], [1.0, 0.0], [0.7, 0.9], [0.2, 0.3]], dtype=torch.float64)


def _module(meet: str) -> zoo.Fn:
    def run(m: zoo.Fn, x: Tensor) -> Tensor:
        made = pair_zoo.branches(x @ m.turn)
        return MEET[meet](made[:, m.first], made[:, m.second])

    turn = torch.tensor([[1.0, 1.0], [0.5, -0.5]], dtype=torch.float64)
    return zoo.Fn(run, turn=turn, first=FIRST, second=SECOND)


def _sampled(module: zoo.Fn) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of each output over a dense grid of each box."""
    line, none = torch.linspace(-1, 1, 2001, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    plane = torch.linspace(-1, 1, 45, dtype=torch.float64)
    least, most = [], []
    for centre, radius in zip(CENTRES, RADII, strict=True):
        grid = torch.cartesian_prod(line, none) if radius[1] == 0 else torch.cartesian_prod(plane, plane)
        values = module(centre + radius * grid)
        least.append(values.amin(0))
        most.append(values.amax(0))
    return torch.stack(least), torch.stack(most)


@pytest.mark.slow
@pytest.mark.parametrize("meet", MEET)
def test_pairs_of_operators_on_one_input(meet):
    module = _module(meet)
    network = Network.capture(module, (2,))
    assert set(relaxations) <= set(network.graph.operators())
    prepared = network.prepare()
    with torch.no_grad():
        least, most = _sampled(module)
        size = 1e-9 * (1 + torch.maximum(least.abs(), most.abs()))
        for name, method in METHODS.items():
            own = FEW.get(name, list(range(len(CENTRES))))
            found = output_interval(method, prepared, Box(CENTRES[own], RADII[own]))
            for end in ((found.lower - least[own]) / size[own], (most[own] - found.upper) / size[own]):
                sample, pair = divmod(int(end.argmax()), len(FIRST))
                assert float(end.max()) <= 1, (name, own[sample], pair_zoo.NAMES[FIRST[pair]], pair_zoo.NAMES[SECOND[pair]])
