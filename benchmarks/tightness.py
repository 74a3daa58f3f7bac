"""Tightness against time: every incomplete method on 1,000 MNIST test images of a certified network, linf 0.1 in [0, 1].

    OMP_NUM_THREADS=1 python -m benchmarks.tightness measure --network wong-kolter --out tight-wong-kolter.jsonl
    OMP_NUM_THREADS=1 python -m benchmarks.tightness measure --network runs/mnist-table/long-0.1-0 --out tight-ibp.jsonl
    python -m benchmarks.tightness table tight-wong-kolter.jsonl tight-ibp.jsonl
    python -m benchmarks.tightness compact tight-ibp.jsonl --out benchmarks/records/tightness-ibp.jsonl

`--network` is the published network of Wong and Kolter, or a run folder of `epsball train` (benchmarks/mnist_table.py has the
command of the one above). Every 10th test image: its nine margins by IBP, zonotope, dual, CROWN and alpha-CROWN, one image at a
time. What none of them proves meets PGD; what PGD does not break goes to the linear program, to the one with LP-tight
neurons and to groups of three neurons, --limit CPU seconds an image at most, after which it counts as a timeout. Solvers look at
the wall clock: --patience says how many seconds of it go by for a CPU second on this machine.

One line an image and method is appended and synced, and a run that was killed goes on where it stopped. With --slow N zonotope,
dual and alpha-CROWN run only on the first N images and on those that IBP and CROWN leave open. Seconds are CPU time of one thread,
the first call of each bound not counted. The semidefinite relaxation is in benchmarks/sdp.py.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.command import ended
from benchmarks.opened import opened
from benchmarks.wong_kolter import load, shared_folder, test_set
from epsball.attacks.pgd import PGD
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.base import least_margins
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.dual import WongKolter
from epsball.device import exact_arithmetic, tolerance
from epsball.errors import BadConfig
from epsball.models.store import load_model
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.problem.sets import LpBall
from epsball.record.journal import Journal, read
from epsball.verification.base import STATUSES
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.programs.verifier import LpVerifier, MultiNeuronVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import nn

    from epsball.bounding.base import Bounder

Line = dict[str, Any]
EPS = 0.1
METHODS: dict[str, Bounder] = {
    "ibp": Ibp(),
    "zonotope": Zonotope(),
    "dual": WongKolter(),
    "crown": Crown(),
    "alpha-crown": AlphaCrown(),
}
SLOW = ("alpha-crown", "dual", "zonotope")
PROGRAMS: dict[str, LpVerifier] = {
    "lp": LpVerifier(),
    "lp-tight": LpVerifier(TriangleLp(neurons="lp"), "lp-tight"),
    "multi-neuron": MultiNeuronVerifier(),
}
ATTACK = PGD(steps=100, restarts=2, targets="all", loss="margin", stop="success")
HEAD = """| method | images | verified | falsified | unknown | timeout | error | mean least margin | CPU s an image |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
NAMES = {
    "ibp": "IBP", "zonotope": "zonotope", "dual": "dual (Wong and Kolter)", "crown": "CROWN",
    "alpha-crown": "alpha-CROWN, 20 steps", "lp": "LP", "lp-tight": "LP, LP-tight neurons", "multi-neuron": "groups of three",
}  # fmt: skip


def network_of(name: str, shared: Path) -> nn.Module:
    """The published network, or the one in a run folder."""
    return load(shared) if name == "wong-kolter" else load_model(Path(name) / "model.safetensors")[0].eval()


def fingerprint(module: nn.Module) -> str:
    """A short hash of the weights, so that no record mixes two networks."""
    found = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        found.update(key.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()[:12]


@dataclass(eq=False)
class Case:
    """The images of one measurement, each as a problem of its own.

    Attributes:
        network: in the evaluation mode.
        x: (N, 1, 28, 28) uint8, the whole test set.
        y: (N,).
    """

    network: Network
    x: torch.Tensor
    y: torch.Tensor

    def __post_init__(self) -> None:
        self.prepared = self.network.prepare()

    def problem(self, index: int) -> Problem:
        """One image."""
        ball = LpBall(self.x[index : index + 1].float() / 255, EPS, "linf", (0.0, 1.0))
        return Problem(self.prepared, ball, robust(self.y[index : index + 1], 10))

    @torch.no_grad()
    def bound(self, name: str, index: int) -> Line:
        """The least margin that a method proves."""
        p = self.problem(index)
        begin = time.process_time()
        with exact_arithmetic():
            margin = float(least_margins(METHODS[name], p.network, p.input_set, p.prop))
        seconds = time.process_time() - begin
        status = "error" if math.isnan(margin) else "verified" if margin > tolerance(p.network.dtype) else "unknown"
        return {"status": status, "margin": margin, "seconds": seconds}

    def attack(self, index: int) -> Line:
        """PGD on every class; its margin is an upper bound of the true one."""
        p = self.problem(index)
        begin = time.process_time()
        margin = float(ATTACK(self.network.module, p.input_set, p.prop).margin)
        return {
            "status": "falsified" if margin <= 0 else "unknown",
            "margin": margin,
            "seconds": time.process_time() - begin,
        }

    def solve(self, name: str, index: int, limit: float, patience: float) -> Line:
        """A verifier's verdict; over the limit of CPU seconds it is a timeout, and where a solver gave up an error."""
        begin = time.process_time()
        verdict = PROGRAMS[name](self.problem(index), Budget(seconds=limit * patience))[0]
        seconds = time.process_time() - begin
        unfinished = verdict.status == "unknown" and verdict.note
        status = "timeout" if seconds > limit else "error" if unfinished else verdict.status
        return {"status": status, "margin": verdict.margin, "seconds": seconds}


@dataclass(eq=False)
class Found:
    """What a record holds.

    Attributes:
        header: its first line.
        images: by index the label and the predicted class.
        by: by method, then by index: status, margin and seconds (None in a compact record).
        seconds: by method: how many were timed, their sum and the largest.
    """

    header: Line
    images: dict[int, tuple[int, int]] = field(default_factory=dict)
    by: dict[str, dict[int, Line]] = field(default_factory=dict)
    seconds: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path) -> Found:
        """Read a record, whole or compact."""
        header, *lines = read(file)
        found = cls(header)
        for line in lines:
            if line["type"] == "image":
                found.images[line["index"]] = (line["label"], line["predicted"])
                for name, margin in zip(METHODS, line.get("margins", ()), strict=False):
                    if margin is not None:
                        status = "verified" if margin > tolerance(torch.float32) else "unknown"
                        found.by.setdefault(name, {})[line["index"]] = {"status": status, "margin": margin, "seconds": None}
            elif line["type"] == "seconds":
                found.seconds[line["by"]] = (line["count"], line["sum"], line["most"])
            elif line["type"] == "found":
                found.take(line)
        return found

    def take(self, line: Line) -> None:
        """One more line of an image and a method."""
        self.by.setdefault(line["by"], {})[line["index"]] = line
        count, total, most = self.seconds.get(line["by"], (0, 0.0, 0.0))
        self.seconds[line["by"]] = (count + 1, total + line["seconds"], max(most, line["seconds"]))

    def right(self) -> list[int]:
        """Images that the network classifies as they are labelled."""
        return [i for i, (label, predicted) in self.images.items() if label == predicted]

    def status(self, name: str, index: int) -> str | None:
        """What a method says of an image; None where it was not run."""
        line = self.by.get(name, {}).get(index)
        return None if line is None else str(line["status"])

    def proven(self, index: int) -> bool:
        """Whether a bound proves this image."""
        return any(self.status(name, index) == "verified" for name in METHODS)

    def left(self) -> list[int]:
        """Images that every bound leaves open and PGD does not break."""
        return [i for i in self.right() if not self.proven(i) and self.status("attack", i) == "unknown"]


def measure(args: argparse.Namespace) -> None:
    """Append what the record does not hold yet, the cheap methods first."""
    torch.set_num_threads(1)
    shared = args.shared or shared_folder()
    module = network_of(args.network, shared)
    case = Case(Network.capture(module, (1, 28, 28)), *test_set(shared))
    chosen = list(range(0, len(case.y), args.every))
    config = {"network": args.network, "weights": fingerprint(module), "eps": EPS, "every": args.every, "limit": args.limit}
    with Journal(args.out) as record:
        opened(record, config, module, (case.x, case.y), torch.float32, __file__, anyway=args.anyway)
        found = Found.of(args.out)
        _predict(case, [i for i in chosen if i not in found.images], record, found)
        _run(case, [i for i in found.right() if i in set(chosen)], args, record, found)


def _run(case: Case, right: list[int], args: argparse.Namespace, record: Journal, found: Found) -> None:
    """The cheapest bounds, all others on what these leave open, then the programs; the slow bounds on all images come last."""
    for name in ("ibp", "crown"):
        _pass(name, right, lambda i, name=name: case.bound(name, i), record, found)
    open_ = [i for i in right if not any(found.status(name, i) == "verified" for name in ("ibp", "crown"))]
    for name in SLOW:
        _pass(name, open_, lambda i, name=name: case.bound(name, i), record, found)
    _pass("attack", [i for i in open_ if not found.proven(i)], case.attack, record, found)
    left = [i for i in open_ if not found.proven(i) and found.status("attack", i) != "falsified"]
    for name in PROGRAMS:
        _pass(name, left, lambda i, name=name: case.solve(name, i, args.limit, args.patience), record, found)
    some = right[: args.slow]
    for start in range(0, len(some), 100):  # so that a run that is cut short has all methods somewhere
        for name in SLOW:
            _pass(name, some[start : start + 100], lambda i, name=name: case.bound(name, i), record, found)


def _predict(case: Case, indices: list[int], record: Journal, found: Found) -> None:
    for start in range(0, len(indices), 100):
        part = indices[start : start + 100]
        with torch.no_grad():
            predicted = case.network.module(case.x[part].float() / 255).argmax(1)
        for i, k in zip(part, predicted.tolist(), strict=True):
            found.images[i] = (int(case.y[i]), k)
            record.append({"type": "image", "index": i, "label": int(case.y[i]), "predicted": k}, sync=i == part[-1])


def _pass(name: str, indices: Iterable[int], run: Callable[[int], Line], record: Journal, found: Found) -> None:
    """One method over all images that have no line of it; a bound's first call warms up and is thrown away."""
    todo = [i for i in indices if i not in found.by.get(name, {})]
    if todo and name in METHODS:
        run(todo[0])
    for i in todo:
        line = run(i)
        rounded = {"margin": float(f"{line['margin']:.6g}"), "seconds": round(line["seconds"], 5)}
        record.append({"type": "found", "index": i, "by": name, "status": line["status"], **rounded})
        found.take({"index": i, "by": name, **line})
    count, total, most = found.seconds.get(name, (0, 0.0, 0.0))
    print(f"{name}: {count} images, {total / max(1, count):.4f} CPU s each, {most:.4f} at most", flush=True)


def compact(file: Path, out: Path) -> None:
    """One line an image instead of one an image and method; the seconds of the bounds as count, sum and largest."""
    found = Found.of(file)
    if out.exists():
        raise BadConfig("this file exists", where=str(out), fix="give another --out")
    with Journal(out) as record:
        record.append(found.header, sync=False)
        for name in found.seconds:
            count, total, most = found.seconds[name]
            if name in METHODS:
                line = {"type": "seconds", "by": name, "count": count, "sum": round(total, 3), "most": round(most, 4)}
                record.append(line, sync=False)
        for i, (label, predicted) in found.images.items():
            margins = [found.by.get(name, {}).get(i, {}).get("margin") for name in METHODS]
            short = {"margins": [None if m is None else float(f"{m:.5g}") for m in margins]} if label == predicted else {}
            record.append({"type": "image", "index": i, "label": label, "predicted": predicted, **short}, sync=False)
        for name in ("attack", *PROGRAMS):
            for line in found.by.get(name, {}).values():
                record.append(line, sync=False)
        record.append({"type": "done"})


def table(file: Path) -> None:
    """Print one network's two tables in Markdown."""
    found = Found.of(file)
    right, config = found.right(), found.header["config"]
    print(f"{config['network']}, {len(found.images)} images, {len(found.images) - len(right)} of them misclassified\n")
    print(HEAD)
    # the first ones, not all that have every method: those that are open came first of all and are the hard ones
    common = list(takewhile(lambda i: all(i in found.by.get(name, {}) for name in METHODS), right))
    for name in METHODS:
        print(f"| {_cells(found, name, right, STATUSES, common)} |")
    proven = sum(found.proven(i) for i in right)
    attacked = found.by.get("attack", {})
    broken = sum(line["status"] == "falsified" for line in attacked.values())
    left = found.left()
    print(f"\nMeans over the first {len(common)} images, which all five bounded. Union of the five: {proven} verified.")
    print(f"PGD breaks {broken} of the other {len(right) - proven}; {len(left)} left.\n")
    print(HEAD)
    whole = [i for i in left if not any(found.status(name, i) == "falsified" for name in PROGRAMS)]
    for name in (*METHODS, *PROGRAMS):
        print(f"| {_cells(found, name, left, STATUSES, whole)} |")
    print(f"\nMeans over the {len(whole)} that no program breaks, for one that finds a counterexample stops.", end="")
    settled = [i for i in left if {found.status(name, i) for name in PROGRAMS} & {"verified", "falsified"}]
    print(f" Settled by programs: {len(settled)} of {len(left)}.")


def _cells(found: Found, name: str, indices: list[int], statuses: Iterable[str], meant: list[int]) -> str:
    """Counts over some images, the mean margin over those `meant`."""
    lines = [found.by[name][i] for i in indices if i in found.by.get(name, {})]
    counts = [str(sum(line["status"] == status for line in lines)) for status in statuses]
    bounded = [found.by[name][i]["margin"] for i in meant if i in found.by.get(name, {})]
    margins = [margin for margin in bounded if margin is not None and not math.isnan(margin)]
    timed = [line["seconds"] for line in lines if line["seconds"] is not None]
    count, total, most = found.seconds.get(name, (0, 0.0, 0.0))
    if timed:
        count, total, most = len(timed), sum(timed), max(timed)
    mean = f"{sum(margins) / len(margins):.4f}" if margins else "-"
    seconds = f"{total / count:.4f} (at most {most:.4f})" if count else "-"
    return " | ".join((NAMES[name], str(len(lines)), *counts, mean, seconds))


def main() -> None:
    """Measure, print the tables, or write a compact record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("measure")
    run.add_argument("--network", default="wong-kolter", metavar="wong-kolter|FOLDER")
    run.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    run.add_argument("--every", type=int, default=10, help="every n-th test image")
    run.add_argument("--limit", type=float, default=60.0, help="CPU seconds an image for a program")
    run.add_argument("--patience", type=float, default=1.0, help="wall seconds a CPU second, on a shared machine")
    run.add_argument("--slow", type=int, default=None, metavar="N", help="slow bounds on the first N images and the open ones only")
    run.add_argument("--anyway", action="store_true", help="go on though the code has changed; the record says so")
    run.add_argument("--shared", type=Path, default=None)
    shown = verbs.add_parser("table")
    shown.add_argument("files", nargs="+", type=Path)
    short = verbs.add_parser("compact")
    short.add_argument("file", type=Path)
    short.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.verb == "measure":
        measure(args)
    elif args.verb == "compact":
        compact(args.file, args.out)
    else:
        for file in args.files:
            table(file)


if __name__ == "__main__":
    raise SystemExit(ended(main))
