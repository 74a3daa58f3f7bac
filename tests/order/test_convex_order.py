"""exact >= LP >= alpha-CROWN >= the CROWN it starts from, at equal intermediate bounds, on random networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.ops.network import Network
from epsball.problem.property import Property
from epsball.problem.sets import Box
from references import exact, preactivations, random_mlp, triangle_lp

OPTIONS = [{"intermediate": i, "slope": s} for i in ("ibp", "crown", "tightest") for s in ("adaptive", "same", "zero", "one")]


@pytest.mark.parametrize("seed", range(6))
def test_exact_lp_alpha_crown_and_crown(seed):
    module, weights = random_mlp(seed)
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    c = np.array([1.0, -1.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    least = exact(weights, x[0].numpy(), 0.4, c)
    for options in OPTIONS:
        crown, alpha = Crown(**options), AlphaCrown(**options, steps=8, lr=0.25)
        lp = triangle_lp(weights, x[0].numpy(), 0.4, c, preactivations(network, crown, Box(x, 0.4)))
        low, high = (float(m(network, Box(x, 0.4), rows)) for m in (crown, alpha))
        assert low <= high <= lp + 1e-7
        assert lp <= least + 1e-7
    both = AlphaCrown(optimise="all")(network, Box(x, 0.4), rows)
    assert float(both) <= least + 1e-9
