"""Cost of certifying one image at n = 10,000, as a multiple of 10,000 bare forward passes in the same batches, one thread.

python -m benchmarks.smoothing_cost [--batch 256]
"""

from __future__ import annotations

import argparse
import json

import torch
from torch import Tensor, nn

from benchmarks.timing import ratios
from epsball.smoothing.core import Smoothed
from epsball.smoothing.statistics.procedures import Fixed

N, SIGMA = 10_000, 0.25


def small_conv() -> nn.Module:
    """The network of the published comparison: conv 16 4x4 / 2, conv 32 4x4 / 2, dense 100, dense 10."""
    torch.manual_seed(0)
    convs = (nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*convs, nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10)).eval()


@torch.no_grad()
def forwards(module: nn.Module, x: Tensor, batch: int) -> None:
    for start in range(0, N, batch):
        module(x[: min(batch, N - start)])


def noises(noise: Tensor) -> None:
    """The noise alone, drawn in place as a certification must: nothing is cheaper."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(0, N, len(noise)):
        noise.normal_(generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    module, image = small_conv(), torch.rand(1, 1, 28, 28)
    inputs = (image + SIGMA * torch.randn(options.batch, 1, 28, 28)).contiguous()
    thousand = torch.rand(1000, 1, 28, 28)
    smoothed = Smoothed(module, SIGMA, 10, batch=options.batch)
    arms = {
        "forward": lambda: forwards(module, inputs, options.batch),
        "forward, batch 1000": lambda: forwards(module, thousand, 1000),
        "noise alone": lambda: noises(torch.empty(128, 1, 28, 28)),
        "certify": lambda: smoothed.certify(image, procedure=Fixed(N)),
    }
    print(json.dumps({"batch": options.batch, "n": N, "time": ratios(arms, base="forward", rounds=options.rounds)}))


if __name__ == "__main__":
    main()
