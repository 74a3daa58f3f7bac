"""Random small networks over all operators, random sets, every bound method: does any bound fail?

    nice -n 10 python -m benchmarks.fuzz --cases 5000 --seed 0

A case is a network with weights of its own and a set of its own; a structure is captured once and serves --draws cases. Each
bound is held against random points of the set, against gradient attacks on every row, and against the other methods where theory
orders them at equal intermediate bounds. NaN is a failure. A case that fails prints the command that repeats it alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from benchmarks.random_networks import structure, weights
from epsball.bounding.affine.forward import Forward
from epsball.bounding.base import Bounder, bounders
from epsball.bounding.budget.within import Within
from epsball.bounding.ibp import Ibp
from epsball.bounding.intersection import Intersection
from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.ops.prepared import Prepared, prepare
from epsball.problem.sets import Box, InputSet, LpBall, Norm, Patch, Polytope, Product

BATCH = 2
SLACK = 1e-8  # of the size of the outputs; everything is in double precision
METHODS: dict[str, Bounder] = {
    **{name: method() for name, method in bounders.items() if name not in ("alpha-crown", "alpha-crown-all", "intersection")},
    "alpha-crown": AlphaCrown(steps=3, lr=0.3),
    "alpha-all": AlphaCrown(steps=2, optimise="all"),
    "crown-same-crown": Crown(slope="same", intermediate="crown"),
    "crown-zero-ibp": Crown(slope="zero", intermediate="ibp"),
    "crown-one-forward": Crown(slope="one", intermediate="forward"),
    "alpha-ibp": AlphaCrown(steps=2, intermediate="ibp"),
    "forward-zero": Forward(slope="zero"),
    "intersection": Intersection((Ibp(), Crown())),
    "crown-small-budget": Within(Crown(chunk_bytes=2**15)),
    "crown-full": Crown(full=True),
    "crown-full-small-budget": Within(Crown(chunk_bytes=2**15, full=True)),
}
# at equal intermediate bounds: (the tighter, the looser). Without `full`, rows that settle early depend on the memory there is.
ORDER = (
    ("alpha-crown", "crown"), ("alpha-ibp", "crown-ibp"), ("intersection", "ibp"), ("intersection", "crown"),
    ("crown-full-small-budget", "crown-full"), ("crown-full", "crown-full-small-budget"),
)  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """What went wrong in one case."""

    case: int
    method: str
    what: str
    by: float


def random_set(draw: random.Random, x: Tensor) -> tuple[str, InputSet]:
    """A set around x in [0, 1]. Polytopes are rare and for few features: each of their rows is a linear program."""
    eps = 10 ** draw.uniform(-3, 0.2)
    clip = draw.choice([None, (0.0, 1.0)])
    features = x[0].numel()
    kinds = ["linf", "linf", "l2", "l2", "l1", "box", "box", "l0", "product"] + ["patch"] * (x.dim() == 4)
    kind = "polytope" if features <= 8 and draw.random() < 0.05 else draw.choice(kinds)
    if kind == "l0":
        return kind, LpBall(x, draw.randint(1, 3), "l0", (0.0, 1.0))
    if kind == "patch":
        return kind, Patch(x, draw.randint(1, min(2, *x.shape[2:])))
    if kind == "product":
        order = torch.tensor(draw.sample(range(features), features))
        cut = draw.randint(1, features - 1)
        norms: tuple[Norm, ...] = (draw.choice(["l2", "l1"]), "linf")
        flat = x.flatten(1)
        parts = [(at, LpBall(flat[:, at], eps, norm, clip)) for at, norm in zip(order.tensor_split([cut]), norms, strict=True)]
        return f"product {clip}", Product(tuple(x.shape[1:]), parts)
    if kind in ("box", "polytope"):
        generator = torch.Generator().manual_seed(draw.getrandbits(32))
        radius = eps * torch.rand(x.shape, generator=generator, dtype=x.dtype)
        radius[torch.rand(x.shape, generator=generator) < draw.choice([0.0, 0.5])] = 0.0
        box = Box(x, radius, clip)
        if kind == "box":
            return f"box {clip}", box
        A = torch.randn(len(x), 2, features, generator=generator, dtype=x.dtype)
        reach = eps * draw.choice([0.01, 0.3])
        return f"polytope {clip}", Polytope(A, (A @ x.flatten(1)[..., None])[..., 0] + reach, box)
    return f"{kind} {clip}", LpBall(x, eps, cast("Norm", kind), clip)


def points(network: Prepared, inputs: InputSet, rows: Rows, draw: random.Random, steps: int) -> Tensor:
    """The least value of each row (P, B) that random points and gradient steps find in the set."""
    generator = torch.Generator().manual_seed(draw.getrandbits(32))
    width = inputs.hull().width
    found = [
        inputs.centre,
        *(inputs.sample(generator) for _ in range(6)),
        inputs.project(inputs.hull().lower),
        inputs.project(inputs.hull().upper),
    ]
    with torch.no_grad():
        least = torch.stack([rows.dot(network.forward(p)) for p in found]).amin(0)
    for row in range(len(rows.values)):
        point = inputs.sample(generator)
        for _ in range(steps):
            point = point.detach().requires_grad_()
            value = rows.dot(network.forward(point))
            least = torch.minimum(least, value.detach())
            (slope,) = torch.autograd.grad(value[row].sum(), point)
            point = inputs.project(point.detach() - 0.4 * width * slope.sign())
        with torch.no_grad():
            least = torch.minimum(least, rows.dot(network.forward(point)))
    return least


def _drawn(seed: int, what: str, number: int) -> random.Random:
    return random.Random(f"{seed}/{what}/{number}")  # noqa: S311 - nothing here is a secret


def judge(case: int, bounds: dict[str, Tensor], least: Tensor, slack: float) -> Iterator[Failure]:
    """Every promise that a bound broke."""
    for method, bound in bounds.items():
        if bool(bound.isnan().any()):
            yield Failure(case, method, "NaN", float("nan"))
        elif bool((bound > least + slack).any()):
            yield Failure(case, method, "above a value that was found", float((bound - least).max()))
    for tight, loose in ORDER:
        gap = bounds[loose] - bounds[tight]
        if bool((gap > slack).any()):
            yield Failure(case, f"{tight} < {loose}", "order", float(gap[gap > slack].max()))


def run(seed: int, first: int, count: int, draws: int, steps: int, tally: Counter[str]) -> Iterator[Failure]:
    """Cases first .. first + count - 1 of a seed; what one case is depends on the seed and its number alone."""
    network, label = None, ""
    for case in range(first, first + count):
        if network is None or case % draws == 0:
            label, module, shape = structure(_drawn(seed, "structure", case // draws))
            network = Network.capture(module, shape)
            live = network.params()
        draw = _drawn(seed, "case", case)
        with torch.no_grad():
            prepared = prepare(network.plan, {**live, **weights(live, draw)})
        generator = torch.Generator().manual_seed(draw.getrandbits(32))
        x = torch.rand(BATCH, *network.input_shape, generator=generator, dtype=torch.float64)
        kind, inputs = random_set(draw, x)
        rows = Rows(torch.randn(2, BATCH, network.classes, generator=generator, dtype=torch.float64))
        with torch.no_grad():
            bounds = {name: method(prepared, inputs, rows) for name, method in METHODS.items()}
            size = float(prepared.forward(x).abs().amax().clamp(min=1))
        least = points(prepared, inputs, rows, draw, steps)
        scale = max([size, *(float(b[torch.isfinite(b)].abs().amax()) for b in bounds.values() if bool(torch.isfinite(b).any()))])
        tally.update({"cases": 1, f"network {label}": 1, f"set {kind}": 1, "bounds": len(METHODS) * least.numel()})
        tally.update(f"infinite {name}" for name, b in bounds.items() if not bool(torch.isfinite(b).all()))
        tally.update(f"op {op}" for op in network.graph.operators())
        yield from judge(case, bounds, least, SLACK * scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the first case; with --cases 1 it repeats a failure")
    parser.add_argument("--draws", type=int, default=25, help="cases for each structure")
    parser.add_argument("--steps", type=int, default=4, help="gradient steps on each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally: Counter[str] = Counter()
    start, failures = time.process_time(), 0
    for first in range(options.first, options.first + options.cases, 50):
        count = min(50, options.first + options.cases - first)
        for failure in run(options.seed, first, count, options.draws, options.steps, tally):
            failures += 1
            again = f"python -m benchmarks.fuzz --seed {options.seed} --first {failure.case} --cases 1 --draws {options.draws}"
            print(f"FAILED {failure.method}: {failure.what} by {failure.by:.3g}\n  repeat: {again}", flush=True)
        print(f"{tally['cases']} cases, {failures} failures, {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"seed": options.seed, "failures": failures, **dict(sorted(tally.items()))}, indent=1))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
