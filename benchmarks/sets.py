"""The Wong-Kolter MNIST network, trained for linf 0.1, over sets of other kinds: how many images are verified, how many are broken.

    python -m benchmarks.sets --images 20

Each line: the set, the verified, falsified and undecided among the first images, and the seconds of all of them on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import torch

from benchmarks.wong_kolter import load, shared_folder, test_set
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets.base import around
from epsball.verification.divided import Cells
from epsball.verification.ladder import Ladder

CASES = {
    "linf 0.1": ("linf", 0.1, 1),
    "l2 0.1": ("l2", 0.1, 1),
    "l2 0.3": ("l2", 0.3, 1),
    "l1 0.2": ("l1", 0.2, 1),
    "l1 0.5": ("l1", 0.5, 1),
    "l0 1": ("l0", 1, 1),
    "patch 1, 1 cell": ("patch", 1, 1),
    "patch 1, every position": ("patch", 1, 28),
    "patch 2, every position": ("patch", 2, 27),
    "patch 3, every position": ("patch", 3, 26),
    "rotation 5 degrees, 1 cell": ("rotation", 5.0, 1),
    "rotation 5 degrees, 10 cells": ("rotation", 5.0, 10),
    "rotation 5 degrees, 40 cells": ("rotation", 5.0, 40),
    "translation 0.3 pixels, 3 x 3 cells": ("translation", 0.3, 3),
    "brightness 0.1, 4 cells": ("brightness", 0.1, 4),
    "contrast 0.2, 4 cells": ("contrast", 0.2, 4),
}


def main() -> None:
    """Print one row a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--shared", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shared = options.shared or shared_folder()
    network = Network.capture(load(shared), (1, 28, 28))
    x, y = (part[: options.images] for part in test_set(shared))
    x, prop = x.float() / 255, robust(y, 10)
    print(f"{'set':<38} verified falsified undecided  seconds")
    for name, (kind, size, cells) in CASES.items():
        if not name.startswith(options.only):
            continue
        start = time.process_time()
        problem = Problem(network.prepare(), around(kind, x, size, (0.0, 1.0)), prop, network.module)
        verdicts = Cells(cells, Ladder())(problem, Budget())
        count = Counter(v.status for v in verdicts)
        broken = count["falsified"] + count["misclassified"]
        rest = len(verdicts) - count["verified"] - broken
        seconds = time.process_time() - start
        print(f"{name:<38} {count['verified']:8d} {broken:9d} {rest:9d} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
