"""Cost of one training step as a multiple of a plain one: loss and gradient, without the optimizer's own step.

CNN-7 with batch norm, MNIST's shape, batch 128, one thread; every arm is interleaved with the plain step in one run.

python -m benchmarks.training_step [--model cnn-7] [--batch 128] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from benchmarks.timing import ratios
from epsball.device import reuse_memory
from epsball.models.base import build
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress, Recipe
from epsball.training.recipes.crown_ibp import FusedCrownIbp
from epsball.training.recipes.fast_ibp import FastIbp

SHAPE, EPS = (1, 28, 28), 0.3
FULL, RAMP = Progress(100, 100, 1), Progress(5, 100, 1)
ARMS: dict[str, tuple[Recipe, Progress]] = {
    "thesis": (FastIbp(EPS, warmup=0, ramp=10), FULL),
    "regularisers": (FastIbp(EPS, warmup=0, ramp=10), RAMP),
    "detached": (FastIbp(EPS, warmup=0, ramp=10, batch_norm="detached"), FULL),
    "crown-ibp-fused": (FusedCrownIbp(EPS, warmup=0, ramp=10), RAMP),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnn-7")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--arms", default="thesis,regularisers,detached")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory()
    torch.manual_seed(0)
    norm = {"batch_norm": True} if options.model == "cnn-small" else {}
    net = Network.capture(build(options.model, SHAPE, 10, **norm), SHAPE)
    net.module.train()
    FastIbp(EPS).initialise(net)
    batch = Batch(torch.rand(options.batch, *SHAPE), torch.arange(options.batch) % 10)
    arms = {"plain": lambda: step(net, lambda: cross_entropy(net.module(batch.x), batch.y))}
    for name in options.arms.split(","):
        recipe, at = ARMS[name]
        arms[name] = lambda r=recipe, a=at: step(net, lambda: r.loss(net, batch, a).total)
    found = ratios(arms, base="plain", rounds=options.rounds, slice_seconds=0.01)
    print(json.dumps({"model": options.model, "batch": options.batch, "torch": torch.__version__, "time": found}, indent=1))


def step(net: Network, loss: Callable[[], torch.Tensor]) -> None:
    net.module.zero_grad(set_to_none=True)
    torch.autograd.backward(loss())


if __name__ == "__main__":
    main()
