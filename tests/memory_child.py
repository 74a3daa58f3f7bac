"""Peak memory of one bound above the network it is of, in a process of its own: prints a JSON line.

python memory_child.py NET BATCH EPS METHOD BYTES   (run by tests/oracle/test_budget.py)
"""

from __future__ import annotations

import json
import resource
import sys

import torch
from benchmarks.bounds import case

from epsball.bounding.affine.forward import Forward
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.base import Bounder
from epsball.bounding.budget.within import Within, estimate
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.problem.problem import Budget

METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "crown-ibp": CrownIbp(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(steps=3),
    "alpha-crown-ibp": AlphaCrown(steps=3, intermediate="ibp"),
    "forward": Forward(),
    "zonotope": Zonotope(),
}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    name, batch, eps, method, size = sys.argv[1:]
    torch.set_num_threads(1)
    module, x, (network, ball, rows) = case(name, int(batch), float(eps))
    with torch.no_grad():
        module(x[:1])
        METHODS["ibp"](network, ball.take(torch.arange(1)), rows.take(torch.arange(1)))  # what the library loads once
        budget, before = Budget(bytes=int(float(size))), peak()
        cost = estimate(network, ball, METHODS[method], rows=len(rows.values), budget=budget)
        margins = Within(METHODS[method], budget)(network, ball, rows)
    print(json.dumps({"peak": peak() - before, "estimate": cost.bytes, "samples": cost.samples, "margin": float(margins.mean())}))


if __name__ == "__main__":
    main()
