"""Cost of a bound as a multiple of one plain forward pass of the same batch, one thread, and the mean margin it gives.

python -m benchmarks.overhead [--nets mlp,cnn4] [--batches 1,16]
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.networks import seeded
from benchmarks.timing import ratios
from epsball.bounding.crown import Crown, CrownIbp
from epsball.bounding.ibp import Ibp
from epsball.graph.network import Network
from epsball.spec.property import robust
from epsball.spec.sets import LpBall

EPS = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default="mlp,cnn4")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--crown", action="store_true", help="full CROWN too (slow on the convolutional networks)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            print(json.dumps(measure(name, batch, crown=options.crown)), flush=True)


@torch.no_grad()
def measure(name: str, batch: int, *, crown: bool) -> dict:
    """One row: ratios and mean margins (lower bounds of the 9 differences to the predicted class, valid range [0, 1])."""
    module, x, y = seeded(name, batch)
    prepared = Network.capture(module, (1, 28, 28)).prepare()
    ball, rows = LpBall(x, EPS, "linf", (0.0, 1.0)), robust(y, 10).rows()
    methods = {"ibp": Ibp(), "crown-ibp": CrownIbp()} | ({"crown": Crown()} if crown else {})
    arms = {"forward": lambda: module(x)} | {k: lambda m=m: m(prepared, ball, rows) for k, m in methods.items()}
    margins = {k: round(float(m(prepared, ball, rows).mean()), 5) for k, m in methods.items()}
    return {"net": name, "batch": batch, "eps": EPS, "time": ratios(arms, base="forward"), "mean_margin": margins}


if __name__ == "__main__":
    main()
