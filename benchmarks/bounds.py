"""Time, memory and tightness of every bound method on seeded networks: the table of docs/benchmarks.md.

    OMP_NUM_THREADS=1 python -m benchmarks.bounds --nets mlp,cnn4 --batches 1,16 --methods ibp,crown-ibp,crown,alpha-crown

Times are CPU seconds of one thread as a multiple of a plain forward pass of the same batch, interleaved in one process. A
method that takes longer than --long seconds is run once. Memory is the peak of the resident set above the built network, in
a child process of its own. The allocator is glibc's, with its thresholds raised by `epsball.device.recycle_memory` before
anything is timed, the same for all arms. Networks, inputs and specification are those of benchmarks/networks.py: the nine
margins of the predicted class, bounded from below, float32, linf, valid range [0, 1]. With --peer (see benchmarks/peer.py)
auto_LiRPA runs in the same rounds, under the same allocator. The records of a run are in benchmarks/records/bounds.jsonl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import peer
from benchmarks.networks import seeded
from benchmarks.timing import ratios
from epsball.bounding.base import Bounder
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.device import recycle_memory
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.ops.prepared import Prepared
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "crown-ibp": CrownIbp(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(),
    "alpha-crown-all": AlphaCrownAll(),
}
_PEER = "peer "


def case(name: str, batch: int, eps: float) -> tuple[torch.nn.Module, torch.Tensor, tuple[Prepared, LpBall, Rows]]:
    module, x, y = seeded(name, batch)
    prepared = Network.capture(module, (1, 28, 28)).prepare()
    return module, x, (prepared, LpBall(x, eps, "linf", (0.0, 1.0)), robust(y, 10).rows())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def calls(name: str, batch: int, eps: float, methods: list[str]) -> tuple[dict[str, Callable[[], torch.Tensor]], Callable]:
    """The call of each method, ours by its name and the peer's as "peer crown"; and a plain forward pass."""
    module, x, given = case(name, batch, eps)
    theirs = {}
    if any(m.startswith(_PEER) for m in methods):
        theirs = {_PEER + m: call for m, call in peer.calls(module, given[1].box, module(x).argmax(1)).items()}
    ours = {m: (lambda m=m: METHODS[m](*given)) for m in methods if m in METHODS}
    return {m: (ours | theirs)[m] for m in methods}, lambda: module(x)


@torch.no_grad()
def memory(name: str, batch: int, eps: float, method: str) -> dict:
    """One call in this process: its CPU seconds, its margins, and the peak above what was there before."""
    own, forward = calls(name, batch, eps, [method])
    forward()
    base, done = resident(), threading.Event()
    peak = [base]

    def poll() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=poll)
    watcher.start()
    start = time.process_time()
    margins = own[method]()
    seconds = time.process_time() - start
    done.set()
    watcher.join()
    return {
        "seconds": round(seconds, 3),
        "mean_margin": round(float(margins.mean()), 5),
        "peak_mib": round((peak[0] - base) / 2**20),
    }


@torch.no_grad()
def times(name: str, batch: int, eps: float, methods: list[str], once: dict[str, float], rounds: int) -> dict[str, float]:
    """Multiples of a forward pass; `once` holds the seconds of those that are too long to repeat."""
    own, plain = calls(name, batch, eps, [m for m in methods if m not in once])
    recycle_memory(torch.device("cpu"))
    measured = ratios({"forward": plain} | own, base="forward", rounds=rounds)
    forward = measured["forward"]["milliseconds"] / 1e3
    return {m: measured[m]["ratio"] for m in own} | {m: round(seconds / forward, 1) for m, seconds in once.items()}


def child(name: str, batch: int, eps: float, method: str, folders: str | None) -> dict:
    command = [sys.executable, "-m", "benchmarks.bounds", "--child", name, str(batch), str(eps), method]
    command += ["--peer", folders] if folders else []
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
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peer", help="folders with auto_LiRPA and what it needs, separated by colons")
    parser.add_argument("--peer-methods", default=",".join(peer.METHODS), help="the methods that the peer runs, of those asked for")
    options = parser.parse_args()
    torch.set_num_threads(1)
    present = peer.use(options.peer)
    if options.peer and not present:
        parser.error(f"{peer.NAME} cannot be imported from {options.peer}")
    if options.child:
        name, batch, eps, method = options.child
        print(json.dumps(memory(name, int(batch), float(eps), method)))
        return
    methods = options.methods.split(",")
    methods += [_PEER + m for m in methods if m in options.peer_methods.split(",")] if present else []
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            single = {m: child(name, batch, options.eps, m, options.peer) for m in methods}
            fine = [m for m in methods if "error" not in single[m]]
            once = {m: single[m]["seconds"] for m in fine if single[m]["seconds"] > options.long}
            measured = times(name, batch, options.eps, fine, once, options.rounds)
            for m in methods:
                row = {"net": name, "batch": batch, "eps": options.eps, "method": m, "forward_passes": measured.get(m)}
                print(json.dumps(row | single[m] | {"repeated": m not in once}), flush=True)


if __name__ == "__main__":
    main()
