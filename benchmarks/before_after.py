"""Two checkouts of this project, cell by cell and round by round in one run: was a change paid for in time or in margins?

    python -m benchmarks.before_after ../before . [--rounds 15] [--nets mlp,cnn4] [--batches 1,16]

Each checkout gets a worker process of its own (one thread, its own `src` and `benchmarks`), and in every round each worker
runs the same cell in turn, so that a slow moment hits both. Cells are those of `benchmarks.bounds` and the arms of
`benchmarks.training_step`. Printed is one JSON line a cell: the median over the rounds of after / before in CPU seconds, and
the largest loosening of a margin (before minus after, over all rows; negative: tighter). Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Call = Callable[[], Tensor | None]

SLICE = 0.1  # CPU seconds that a round of one cell takes at least


def worker() -> None:
    """Answers lines of JSON: {"cell": ..., "repeats": n} with the CPU seconds of n calls and, once, the values found."""
    import torch

    torch.set_num_threads(1)
    current, call = None, None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["cell"] != current:
            current, call = asked["cell"], _bounds(*asked["cell"][1:]) if asked["cell"][0] == "bounds" else _step(asked["cell"][1])
            call()
        start = time.process_time()
        for _ in range(asked["repeats"]):
            found = call()
        seconds = time.process_time() - start
        values = found.flatten().tolist() if asked.get("values") and found is not None else None
        print(json.dumps({"seconds": seconds / asked["repeats"], "values": values}), flush=True)


def _bounds(net: str, batch: int, method: str) -> Call:
    import torch

    from benchmarks import bounds
    from epsball.device import recycle_memory

    own, _ = bounds.calls(net, batch, 0.02, [method])
    recycle_memory(torch.device("cpu"))

    def call() -> Tensor:
        with torch.no_grad():
            return own[method]()

    return call


def _step(arm: str) -> Call:
    import torch

    from benchmarks import training_step as steps

    steps.reuse_memory()
    torch.manual_seed(0)
    net = steps.Network.capture(steps.build("cnn-7", steps.SHAPE, 10), steps.SHAPE)
    net.module.train()
    steps.FastIbp(steps.EPS).initialise(net)
    batch = steps.Batch(torch.rand(128, *steps.SHAPE), torch.arange(128) % 10)
    recipe, at = steps.ARMS[arm]
    return lambda: steps.step(net, lambda: recipe.loss(net, batch, at).total)


class Checkout:
    """A worker process in one checkout."""

    def __init__(self, folder: Path) -> None:
        paths = os.pathsep.join((str(folder / "src"), str(folder)))
        command = [sys.executable, str(Path(__file__).resolve()), "--worker"]
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def run(self, cell: tuple, repeats: int = 1, *, values: bool = False) -> dict:
        if self.process.stdin is None or self.process.stdout is None:
            raise SystemExit("a worker without pipes")
        self.process.stdin.write(json.dumps({"cell": cell, "repeats": repeats, "values": values}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker of {self.process.args} ended at {cell}")
        return json.loads(line)


def compare(before: Checkout, after: Checkout, cell: tuple, rounds: int) -> dict:
    first = [side.run(cell, values=True) for side in (before, after)]
    repeats = max(1, int(SLICE / max(first[0]["seconds"], 1e-6)))
    ratios = []
    for i in range(rounds):
        order = (before, after) if i % 2 else (after, before)
        seconds = {side: side.run(cell, repeats)["seconds"] for side in order}
        ratios.append(seconds[after] / seconds[before])
    old, new = (side["values"] for side in first)
    looser = max((a - b for a, b in zip(old, new, strict=True)), default=0.0) if old is not None else None
    low, high = min(ratios), max(ratios)
    found = {"ratio": round(statistics.median(ratios), 3), "low": round(low, 3), "high": round(high, 3), "looser": looser}
    return {"cell": "/".join(map(str, cell)), "before_ms": round(first[0]["seconds"] * 1e3, 2), **found, "rounds": rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--nets", default="mlp,cnn4")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--methods", default="ibp,crown-ibp,crown,alpha-crown")
    parser.add_argument("--arms", default="thesis,regularisers,detached,crown-ibp-fused")
    options = parser.parse_args()
    cells = [
        ("bounds", net, int(batch), method)
        for net in options.nets.split(",")
        for batch in options.batches.split(",")
        for method in options.methods.split(",")
    ]
    cells += [("step", arm) for arm in options.arms.split(",") if arm]
    before, after = Checkout(options.before.resolve()), Checkout(options.after.resolve())
    for cell in cells:
        print(json.dumps(compare(before, after, cell, options.rounds)), flush=True)


if __name__ == "__main__":
    worker() if sys.argv[1:] == ["--worker"] else main()
