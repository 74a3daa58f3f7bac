"""The semidefinite relaxation: how near its dual comes to clarabel, and how much tighter than the triangle LP it is.

    python -m benchmarks.sdp clarabel --out sdp-clarabel.jsonl
    python -m benchmarks.sdp mnist --images 20 --eps 0.05 --out sdp-mnist.jsonl

`clarabel`: random networks with up to 100 ReLUs, the same relaxation given to cvxpy and clarabel. `mnist`: a 784-100-100-10 MLP
trained for two epochs, the margin of each image that CROWN finds worst, by CROWN, alpha-CROWN, the LP (HiGHS) and the SDP, all with
the same bounds of the hidden neurons. One line a form is appended and synced, and a killed run of `mnist` goes on where it stopped;
float64, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from scipy.optimize import linprog
from torch import nn

from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.data.find import load as load_data
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box, LpBall
from epsball.training.config import TrainConfig
from epsball.verification.semidefinite.dual import Dual
from epsball.verification.semidefinite.lift import Lifted, lift
from epsball.verification.semidefinite.verifier import Sdp

if TYPE_CHECKING:
    from collections.abc import Iterator

Line = dict[str, Any]
NETS = ((5, 20, 20, 2), (8, 30, 30, 2), (8, 25, 25, 25, 2), (10, 100, 2), (10, 50, 50, 2))  # the ReLUs: 40, 60, 75, 100, 100
RADIUS = 0.25


def lp(lifted: Lifted) -> float:
    """The first form over the triangles alone."""
    c = lifted.c[0].numpy()
    dual = Dual(lifted, 0)
    rows = torch.cat((-dual.gap, -dual.room)).numpy()
    ends = torch.cat((-lifted.b, dual.top)).numpy()
    found = linprog(c, rows, ends, bounds=[(-1, 1)] * lifted.inputs + [(0, 1)] * lifted.units, method="highs")
    return float(found.fun + lifted.c0[0])


def clarabel(lifted: Lifted) -> float:
    """The first form over the same relaxation, as a primal problem."""
    import cvxpy as cp

    n, N = lifted.inputs, lifted.inputs + lifted.units
    A, b, k, c = (t.numpy() for t in (lifted.A, lifted.b, lifted.k, lifted.c[0]))
    X = cp.Variable((N + 1, N + 1), PSD=True)
    w, squares = X[0, 1:], cp.diag(X)[1:]
    s, z = w[n:], A @ w + b
    product = cp.multiply(k, squares[n:]) - cp.sum(cp.multiply(A, X[n + 1 :, 1:]), axis=1) - cp.multiply(b, s)
    lines = [s >= 0, cp.multiply(k, s) - z >= 0, z + 1 - k - s >= 0]
    problem = cp.Problem(cp.Minimize(c @ w), [X[0, 0] == 1, squares[:n] <= 1, squares[n:] <= s, product == 0, *lines])
    return float(problem.solve(solver=cp.CLARABEL)) + float(lifted.c0[0])


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def timed(lifted: Lifted, method: Sdp) -> tuple[float, float, int]:
    """Bound, seconds and steps of the first form."""
    start = time.perf_counter()
    reached = method.ascend(Dual(lifted, 0))
    return reached.bound, time.perf_counter() - start, reached.steps


def small() -> Iterator[Line]:
    for seed, widths in enumerate(NETS):
        torch.manual_seed(seed)
        network = Network.capture(mlp(*widths).double(), (widths[0],)).prepare()
        box = Box(torch.rand(1, widths[0], dtype=torch.float64), RADIUS)
        rows = Property(torch.tensor([1.0, -1.0], dtype=torch.float64)[None, None]).rows()
        known = Crown().known(network, box)
        found = known.found
        lifted = lift(network, box, found, rows)
        bound, seconds, steps = timed(lifted, Sdp())
        first, first_seconds, _ = timed(lifted, Sdp(newton=0, steps=400))
        triangles, start = lp(lifted), time.perf_counter()
        best = clarabel(lifted)
        yield {
            "net": "-".join(map(str, widths)),
            "relus": sum(widths[1:-1]),
            "unstable": lifted.units,
            "crown": float(known.lower_bound(network.plan.output, rows)),
            "lp": triangles,
            "sdp": bound,
            "clarabel": best,
            "percent": 100 * (best - bound) / abs(best),
            "steps": steps,
            "seconds": seconds,
            "clarabel_seconds": time.perf_counter() - start,
            "first_order": first,
            "first_order_percent": 100 * (best - first) / abs(best),
            "first_order_seconds": first_seconds,
        }


def trained(path: Path, epochs: int = 2) -> nn.Sequential:
    """The MLP, trained once and kept beside the results."""
    torch.manual_seed(0)
    module = mlp(784, 100, 100, 10)
    if path.exists():
        module.load_state_dict(torch.load(path, weights_only=True))
        return module
    data = load_data("mnist").train
    optimiser = torch.optim.Adam(module.parameters(), TrainConfig().lr)
    for _ in range(epochs):
        for part in torch.randperm(len(data.y)).split(128):
            loss = nn.functional.cross_entropy(module(data.inputs(part)), data.y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.save(module.state_dict(), path)
    return module


def mnist(images: list[int], eps: float, path: Path, method: Sdp) -> Iterator[Line]:
    test = load_data("mnist").test
    network = Network.capture(trained(path).double(), (1, 28, 28)).prepare()
    for i in images:
        x, y = test.inputs(torch.tensor([i])).double(), test.y[i : i + 1]
        ball, prop = LpBall(x, eps, "linf", (0.0, 1.0)), robust(y, 10, torch.float64)
        known = Crown().known(network, ball)
        found = known.found
        bounds = known.lower_bound(network.plan.output, prop.rows())[:, 0]
        worst = int(bounds.argmin())
        one = Property(prop.C[worst : worst + 1]).rows()
        with torch.no_grad():
            alpha = float(AlphaCrown(steps=40)(network, ball, one))
        lifted = lift(network, ball, found, one)
        start = time.perf_counter()
        triangles, mid = lp(lifted), time.perf_counter()
        bound, seconds, steps = timed(lifted, method)
        yield {
            "index": i,
            "eps": eps,
            "nominal": float(prop.margins(network.forward(x))[worst]),
            "unstable": lifted.units,
            "crown": float(bounds[worst]),
            "alpha-crown": alpha,
            "lp": triangles,
            "lp_seconds": mid - start,
            "sdp": bound,
            "steps": steps,
            "seconds": seconds,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("clarabel", "mnist"))
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--eps", type=float, default=0.05)
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    method = Sdp(tolerance=args.tolerance)
    known = {json.loads(line).get("index") for line in args.out.read_text().splitlines()} if args.out.exists() else set()
    todo = [i for i in range(args.images) if i not in known]
    lines = small() if args.what == "clarabel" else mnist(todo, args.eps, args.out.with_suffix(".pt"), method)
    with args.out.open("a") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
