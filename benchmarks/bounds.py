"""Time, memory and tightness of every bound method on seeded networks: the table of docs/benchmarks.md.

    OMP_NUM_THREADS=1 python -m benchmarks.bounds --nets mlp,cnn4 --batches 1,16 --methods ibp,crown-ibp,crown,alpha-crown

Times are CPU seconds of one thread as a multiple of a plain forward pass of the same batch, interleaved in one process. A
method that takes longer than --long seconds is run once. Memory is the peak of the resident set above the built network, in
a child process of its own. The allocator is glibc's, with its thresholds raised by `epsball.device.recycle_memory` before
anything is timed, the same for all arms. Networks, inputs and specification are those of benchmarks/networks.py: the nine
margins of the predicted class, bounded from below, float32, linf, valid range [0, 1].
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.networks import seeded
from benchmarks.timing import ratios
from epsball.bounding.alpha import AlphaCrown
from epsball.bounding.base import Bounder
from epsball.bounding.crown import Crown, CrownIbp
from epsball.bounding.ibp import Ibp
from epsball.device import recycle_memory
from epsball.graph.network import Network
from epsball.graph.plan import Prepared
from epsball.rows import Rows
from epsball.spec.property import robust
from epsball.spec.sets import LpBall

METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "crown-ibp": CrownIbp(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(),
    "alpha-crown-all": AlphaCrown(optimise="all"),
}


def case(name: str, batch: int, eps: float) -> tuple[torch.nn.Module, torch.Tensor, tuple[Prepared, LpBall, Rows]]:
    module, x, y = seeded(name, batch)
    prepared = Network.capture(module, (1, 28, 28)).prepare()
    return module, x, (prepared, LpBall(x, eps, "linf", (0.0, 1.0)), robust(y, 10).rows())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@torch.no_grad()
def memory(name: str, batch: int, eps: float, method: str) -> dict:
    """One call in this process: its CPU seconds, its margins, and the peak above what was there before."""
    module, x, given = case(name, batch, eps)
    module(x)
    base, done = resident(), threading.Event()
    peak = [base]

    def poll() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=poll)
    watcher.start()
    start = time.process_time()
    margins = METHODS[method](*given)
    seconds = time.process_time() - start
    done.set()
    watcher.join()
    return {
        "seconds": round(seconds, 3),
        "mean_margin": round(float(margins.mean()), 5),
        "peak_mib": round((peak[0] - base) / 2**20),
    }


@torch.no_grad()
def times(name: str, batch: int, eps: float, methods: list[str], once: dict[str, float]) -> dict[str, float]:
    """Multiples of a forward pass; `once` holds the seconds of those that are too long to repeat."""
    module, x, given = case(name, batch, eps)
    recycle_memory(x.device)
    short = [m for m in methods if m not in once]
    measured = ratios({"forward": lambda: module(x)} | {m: lambda m=m: METHODS[m](*given) for m in short}, base="forward")
    forward = measured["forward"]["milliseconds"] / 1e3
    return {m: measured[m]["ratio"] for m in short} | {m: round(seconds / forward, 1) for m, seconds in once.items()}


def child(name: str, batch: int, eps: float, method: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.bounds", "--child", name, str(batch), str(eps), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="mlp,cnn4")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--methods", default="ibp,crown-ibp,crown,alpha-crown")
    parser.add_argument("--eps", type=float, default=0.02)
    parser.add_argument("--long", type=float, default=2.0, help="seconds above which a method is run once")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        name, batch, eps, method = options.child
        print(json.dumps(memory(name, int(batch), float(eps), method)))
        return
    methods = options.methods.split(",")
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            single = {m: child(name, batch, options.eps, m) for m in methods}
            fine = [m for m in methods if "error" not in single[m]]
            once = {m: single[m]["seconds"] for m in fine if single[m]["seconds"] > options.long}
            measured = times(name, batch, options.eps, fine, once)
            for m in methods:
                row = {"net": name, "batch": batch, "eps": options.eps, "method": m, "forward_passes": measured.get(m)}
                print(json.dumps(row | single[m] | {"repeated": m not in once}), flush=True)


if __name__ == "__main__":
    main()
