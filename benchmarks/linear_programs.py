"""Linear programs and groups of three ReLUs on what CROWN leaves open of a 784-100-100-10 MNIST network.

    OMP_NUM_THREADS=1 python -m benchmarks.linear_programs train --out runs/lp
    OMP_NUM_THREADS=1 python -m benchmarks.linear_programs measure --network runs/lp --eps 0.03 --images 100 --out lp-0.03.jsonl
    OMP_NUM_THREADS=1 python -m benchmarks.linear_programs measure --network runs/lp --eps 0.05 --images 24 --out lp-0.05.jsonl
    python -m benchmarks.linear_programs table lp-0.03.jsonl lp-0.05.jsonl

`train` makes the network by

    epsball train standard --model mlp --set "model.hidden=[100, 100]" --epochs 3 --batch 128 --seed 0

`measure` takes the first test images one by one. An image that is misclassified, proven by CROWN, or broken by PGD is noted and
left; of the others every row (class) that CROWN does not prove is bounded by alpha-CROWN and by five programs, all in float64. One
line an image is appended and synced, its rows side by side; a run that was killed goes on where it stopped. Seconds are CPU time
of one thread for all open rows of an image, writing the program down included; the first call of each is not counted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.command import ended
from benchmarks.opened import opened
from benchmarks.regions import ATTACK, Line, short, train
from benchmarks.tightness import fingerprint, network_of
from benchmarks.wong_kolter import shared_folder, test_set
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.device import tolerance
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall
from epsball.record.journal import Journal, read
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.triangle import TriangleLp

if TYPE_CHECKING:
    from epsball.ops.prepared import Prepared
    from epsball.problem.property import Property

RECIPE = ("standard", "--model", "mlp", "--set", "model.hidden=[100, 100]", "--epochs", "3", "--batch", "128", "--seed", "0")
PROGRAMS: dict[str, tuple[str, TriangleLp]] = {
    "lp": ("LP", TriangleLp()),
    "lp-scipy": ("LP by scipy", TriangleLp(solver="scipy")),
    "lp-tight": ("LP, hidden neurons LP-tight", TriangleLp(neurons="lp")),
    "multi-neuron": ("multi-neuron", MultiNeuron()),
    "multi-neuron-tight": ("multi-neuron, LP-tight", MultiNeuron(neurons="lp")),
}
BOUNDS = {"crown": "CROWN", "alpha-crown": "alpha-CROWN, 20 steps"}
FAR = 1e-4  # strictly above: by more than this share of 1 + the LP's size, ten thousand times what the solvers tolerate
DTYPE = torch.float64


def solved(method: TriangleLp, network: Prepared, ball: LpBall, prop: Property, rows: list[int]) -> tuple[list[float], int, float]:
    """The bounds of some rows, how many units have variables, and CPU seconds."""
    begin = time.process_time()
    relaxation = method.open(network, ball)
    forms = relaxation.output(prop.rows())
    bounds = [method.least(relaxation, forms, row).bound for row in rows]
    return bounds, relaxation.unstable, time.process_time() - begin


class Case:
    """A network and the test images.

    Attributes:
        network: prepared in float64.
        x: (N, 1, 28, 28) uint8.
        y: (N,).
        warm: whether the programs have run before.
    """

    def __init__(self, network: Prepared, x: torch.Tensor, y: torch.Tensor) -> None:
        self.network, self.x, self.y, self.warm = network, x, y, False

    def line(self, index: int, eps: float) -> Line:
        """Everything about one image."""
        x, y = self.x[index : index + 1].to(DTYPE) / 255, self.y[index : index + 1]
        ball, prop = LpBall(x, eps, "linf", (0.0, 1.0)), robust(y, 10, DTYPE)
        with torch.no_grad():
            nominal = float(prop.margins(self.network.forward(x)).amin())
            crown = Crown()(self.network, ball, prop.rows())[:, 0]
        if nominal <= 0:
            return {"state": "misclassified"}
        rows = [row for row in crown.argsort().tolist() if crown[row] <= tolerance(DTYPE)]
        if not rows:
            return {"state": "proven"}
        attacked = float(ATTACK(self.network.forward, ball, prop, torch.Generator().manual_seed(0)).margin)
        if attacked <= 0:
            return {"state": "broken", "attacked": attacked}
        with torch.no_grad():
            alpha = AlphaCrown()(self.network, ball, prop.rows())[:, 0]
        bounds, seconds, unstable = {"crown": crown[rows].tolist(), "alpha-crown": alpha[rows].tolist()}, {}, 0
        for name, (_, method) in PROGRAMS.items():
            if not self.warm:
                solved(method, self.network, ball, prop, rows[:1])
            found, count, seconds[name] = solved(method, self.network, ball, prop, rows)
            bounds[name], unstable = found, max(unstable, count)
        self.warm = True
        others = [row + (row >= int(y)) for row in rows]
        return {"state": "open", "attacked": attacked, "unstable": unstable, "rows": others, "bounds": bounds, "seconds": seconds}


def measure(args: argparse.Namespace) -> None:
    """Append a line for each image that has none yet."""
    torch.set_num_threads(1)
    shared = args.shared or shared_folder()
    module = network_of(str(args.network), shared)
    examples = test_set(shared)
    case = Case(Network.capture(module, (1, 28, 28)).prepare(DTYPE), *examples)
    config = {"weights": fingerprint(module), "command": ["epsball", "train", *RECIPE], "eps": args.eps}
    with Journal(args.out) as record:
        known = opened(record, config, module, examples, DTYPE, __file__, anyway=args.anyway)
        done = {line.get("index") for line in known}
        for i in range(args.images):
            if i not in done:
                line = short(case.line(i, args.eps))
                record.append({"type": "image", "index": i, "label": int(case.y[i]), **line})
                print(i, line["state"], line.get("seconds", ""), flush=True)


class Table:
    """One record's figures.

    Attributes:
        eps: the radius.
        counts: of the images' states.
        open: the lines of the images that were bounded.
    """

    def __init__(self, file: Path) -> None:
        header, *rest = read(file)
        lines = [line for line in rest if line["type"] == "image"]
        self.eps = header["config"]["eps"]
        self.open = [line for line in lines if line["state"] == "open"]
        states = [line["state"] for line in lines]
        self.counts = {state: states.count(state) for state in ("misclassified", "proven", "broken", "open")}

    def rows(self, name: str) -> list[float]:
        """A method's bounds of all rows."""
        return [bound for line in self.open for bound in line["bounds"][name]]

    def cell(self, name: str) -> str:
        """Mean bound / images settled / CPU seconds an image (at most)."""
        rows, settled = self.rows(name), sum(min(line["bounds"][name]) > tolerance(DTYPE) for line in self.open)
        timed = [line["seconds"][name] for line in self.open if name in line["seconds"]]
        seconds = f"{sum(timed) / len(timed):.2f} ({max(timed):.2f})" if timed else "-"
        return f"{sum(rows) / len(rows):+.3f} / {settled} / {seconds}"

    def above(self, name: str, left: str) -> str:
        """On how many of the rows that a method leaves open another one is strictly above the LP, and the least gain there."""
        chosen = [(lp, v) for lp, v, l in zip(*map(self.rows, ("lp", name, left)), strict=True) if l <= tolerance(DTYPE)]
        gains = [v - lp for lp, v in chosen]
        strict = sum(v > lp + FAR * (1 + abs(lp)) for lp, v in chosen)
        return f"{strict} of {len(chosen)} (least gain {min(gains, default=0.0):.4f})"


def table(files: list[Path]) -> None:
    """Print the Markdown rows and what stands beneath them."""
    tables = [Table(file) for file in files]
    heads = [f"eps {t.eps}: {len(t.rows('lp'))} rows, {len(t.open)} images" for t in tables]
    print(f"| method | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for name, text in {**BOUNDS, **{name: text for name, (text, _) in PROGRAMS.items()}}.items():
        print(f"| {text} | {' | '.join(t.cell(name) for t in tables)} |")
    for t in tables:
        units = sum(line["unstable"] for line in t.open) / len(t.open)
        print(f"\neps {t.eps}: {sum(t.counts.values())} images, {t.counts}; {units:.0f} unstable neurons an open image.")
        for name in ("lp-tight", "multi-neuron", "multi-neuron-tight"):
            print(f"{name} strictly above the LP: {t.above(name, 'crown')}, of those that the LP leaves {t.above(name, 'lp')}.")


def main() -> None:
    """Train, measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    learn = verbs.add_parser("train")
    learn.add_argument("--out", type=Path, default=Path("runs/lp"), metavar="RUN")
    run = verbs.add_parser("measure")
    run.add_argument("--network", type=Path, default=Path("runs/lp"), metavar="RUN")
    run.add_argument("--eps", type=float, required=True)
    run.add_argument("--images", type=int, required=True, help="the first N test images")
    run.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    run.add_argument("--anyway", action="store_true", help="go on though the code has changed; the record says so")
    run.add_argument("--shared", type=Path, default=None)
    shown = verbs.add_parser("table")
    shown.add_argument("files", nargs="+", type=Path)
    args = parser.parse_args()
    if args.verb == "train":
        train(args.out, RECIPE)
    elif args.verb == "measure":
        measure(args)
    else:
        table(args.files)


if __name__ == "__main__":
    raise SystemExit(ended(main))
