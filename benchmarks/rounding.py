"""What bounds give away to rounding: whether it is enough, what it costs in margins, what it costs in time.

    OMP_NUM_THREADS=1 python -m benchmarks.rounding --networks 500 [--first 0]
    OMP_NUM_THREADS=1 python -m benchmarks.rounding --loss ../shared
    OMP_NUM_THREADS=1 python -m benchmarks.rounding --times

`--networks`: small networks with hidden values from 1 to 2^24 (float32) or to 2^51 (float64), most of which cancel in the output,
evaluated in seven orders of summation, by torch, and in rationals; every bound method in both precisions. Ends with 1 if any value
lies outside.
`--loss`: margins of MNIST pictures by bounds that cover the module's evaluation, against bounds that give nothing away.
`--times`: CPU seconds of the former as a multiple of the latter's, interleaved in one process, medians.
With `--out FOLDER` the table is written there as a record.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tests.float_check import Tally, compare
from torch import Tensor, nn

from benchmarks import wong_kolter
from benchmarks.networks import seeded
from benchmarks.tables import Table, markdown, save
from benchmarks.timing import ratios
from epsball.bounding.base import Bounder
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.device import exact_arithmetic, recycle_memory
from epsball.graph.onnx import load_onnx
from epsball.ops.network import Network
from epsball.ops.prepared import Prepared
from epsball.problem.property import Property, robust
from epsball.problem.sets import LpBall
from epsball.record.code import code, named

METHODS: dict[str, Bounder] = {"ibp": Ibp(), "crown-ibp": CrownIbp(), "crown": Crown()}
PICTURES, CHUNK = 100, 20
Lines = tuple[tuple[str, ...], list[tuple[str, ...]]]


def outside(count: int, first: int) -> tuple[Lines, int]:
    """The tally by family, and how many bounds were too high."""
    rows, wrong = [], 0
    for dtype in (np.float32, np.float64):
        tallies: dict[str, Tally] = {}
        for seed in range(first, first + count):
            family, tally = compare(seed, dtype)
            tallies.setdefault(family, Tally()).join(tally)
        for family, tally in tallies.items():
            print(*tally.outside[:5], sep="\n", end="\n" if tally.outside else "")
            wrong += len(tally.outside)
            cells = (tally.networks, tally.evaluations, tally.bounds, len(tally.outside))
            rows.append((dtype.__name__, family, *(f"{c:,}" for c in cells)))
    return (("precision of the module", "family", "networks", "evaluations", "bounds compared", "outside"), rows), wrong


def subjects(shared: Path) -> Iterator[tuple[str, nn.Module, tuple[int, ...], float]]:
    """Name, module, shape of an input and radius."""
    for depth in (2, 4, 6):
        module = load_onnx(shared / f"vnncomp/mnist_fc_2022/onnx/mnist-net_256x{depth}.onnx.gz")
        yield f"mnist_fc 256x{depth}", module, module.input_shape, 0.01
    yield "Wong and Kolter's", wong_kolter.load(shared), (1, 28, 28), 0.1


def least(method: Bounder, network: Prepared, x: Tensor, prop: Property, eps: float) -> Tensor:
    """The least margin of each picture, some pictures at a time."""
    found = []
    for start in range(0, len(x), CHUNK):
        part = torch.arange(start, min(start + CHUNK, len(x)))
        ball = LpBall(x[part], eps, clip=(0.0, 1.0)).to(network.dtype, network.device)
        found.append(method(network, ball, prop.take(part).to(network.dtype).rows()).amin(0).double())
    return torch.cat(found)


@torch.no_grad()
def losses(shared: Path) -> Lines:
    """Medians and verdicts of each network and method."""
    pictures, labels = (part[:PICTURES] for part in wong_kolter.test_set(shared))
    rows = []
    for name, module, shape, eps in subjects(shared):
        x = pictures.float().reshape(-1, *shape) / 255
        net = Network.capture(module, shape)
        right = module(x).argmax(1) == labels
        x, prop = x[right], robust(labels[right], net.classes)
        arms = [(torch.float32, "nothing"), (torch.float32, "module"), (torch.float64, "module")]
        for method, bounder in METHODS.items():
            plain, *covered = (least(bounder, net.prepare(dtype, covers), x, prop, eps) for dtype, covers in arms)
            cells = [f"{float(plain.median()):.4g}", f"{int((plain > 0).sum())} of {len(plain)}"]
            for margins in covered:
                lost = float((plain.median() - margins.median()) / plain.median().abs())
                cells += [f"{100 * lost:.2g} %", f"{int(((plain > 0) != (margins > 0)).sum())}"]
            rows.append((name, f"{eps:g}", method, *cells))
            print(rows[-1], flush=True)
    columns = ("network", "eps", "method", "median margin, nothing given away", "verified so")
    more = ("lost in float32", "verdicts changed", "lost with float64 bounds", "verdicts changed so")
    return (*columns, *more), rows


@torch.no_grad()
def times(rounds: int) -> Lines:
    """Ratios of each network, batch and method."""
    recycle_memory(torch.device("cpu"))
    rows = []
    for name in ("mlp", "cnn4"):
        for batch in (1, 16):
            module, x, y = seeded(name, batch)
            net = Network.capture(module, (1, 28, 28))
            arms = {covers: net.prepare(covers=covers) for covers in ("nothing", "module")}
            ball, prop = LpBall(x, 0.02, clip=(0.0, 1.0)), robust(y, net.classes)
            for method, bounder in METHODS.items():
                calls = {covers: partial(bounder, arm, ball, prop.rows()) for covers, arm in arms.items()}
                found = ratios(calls, base="nothing", rounds=rounds)
                cells = (f"{found['nothing']['milliseconds']:.2f}", f"{found['module']['ratio']:.2f}")
                rows.append((name, str(batch), method, *cells))
                print(rows[-1], flush=True)
    return ("network", "batch", "method", "CPU milliseconds, nothing given away", "times as long"), rows


def header() -> dict[str, str]:
    """Of the record; read before the run, as sources may change under a long one."""
    command = " ".join(["OMP_NUM_THREADS=1 python -m benchmarks.rounding", *sys.argv[1:]]).partition(" --out")[0]
    date = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    return {"section": "Rounding", "command": command, "code": named(code(Path(__file__))), "date": date, "origin": "measured"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--networks", type=int, help="how many, in each precision")
    what.add_argument("--loss", type=Path, metavar="SHARED", help="the folder with MNIST and the networks")
    what.add_argument("--times", action="store_true")
    parser.add_argument("--first", type=int, default=0, help="seed of the first network")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="folder for the record; given last")
    options = parser.parse_args()
    torch.set_num_threads(1)
    told, wrong = header(), 0
    with exact_arithmetic():
        if options.networks:
            name, (lines, wrong) = "orders", outside(options.networks, options.first)
        elif options.loss:
            name, lines = "loss", losses(options.loss)
        else:
            name, lines = "times", times(options.rounds)
    print(markdown(*lines))
    if options.out:
        save(Table(told, lines[0], tuple(lines[1])), options.out / f"rounding-{name}.csv")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
