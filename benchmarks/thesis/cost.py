"""What the 66 cells of Table 3.2 take: arithmetic counted on the network, and hours on one H200. Nothing is trained.

One multiply-add is two operations. A step propagates the clean batch, centres and radii, forwards and backwards: as much as nine
forward passes. CROWN-IBP with loss fusion adds a backward pass of bounds with its gradient, as much as three, while the ramp lasts;
our regularisers add nothing that counts. Evaluation is left out. The rate is what a network of convolutions is expected to reach:
40 % of 67 TFLOP/s in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.tables import markdown
from benchmarks.thesis.published import BEST, METHODS, NETWORKS, PRINTED, REPEATS, Schedule
from benchmarks.thesis.rows import BLOCKS, Row
from epsball.models.base import build

RATE = 0.4 * 67e12
_SHAPES = {"mnist": ((1, 28, 28), 60_000), "cifar10": ((3, 32, 32), 50_000)}
_FIRST = (("mnist", "cnn-7", "ours"), ("mnist", "cnn-7", "ibp"), ("cifar10", "cnn-7", "ours"), ("cifar10", "cnn-7", "ibp"))


@dataclass(frozen=True)
class Cell:
    """One method on one network in one block, with all its repeats: two figures, four where the best run is printed too.

    Attributes:
        block: its name in BLOCKS.
        row: the first of its runs.
        repeats: how many.
        figures: of the 66 that it fills.
        operations: of one run.
    """

    block: str
    row: Row
    repeats: int
    figures: int
    operations: float

    @property
    def hours(self) -> float:
        """Of all repeats on one H200."""
        return self.repeats * self.operations / RATE / 3600


@functools.cache
def forward(network: str, shape: tuple[int, ...], **options: object) -> int:
    """Operations of one forward pass of one input."""
    module = build(network, shape, 10, **options).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(torch.zeros(1, *shape))
    return counter.get_total_flops()


def operations(row: Row) -> float:
    """Of one training run at its full size."""
    config = row.config()
    shape, examples = _SHAPES[row.block.data]
    epochs, schedule = config.train.epochs, config.recipe.schedule
    linear = schedule.ramp if row.arm == "crown-ibp" else 0.0
    natural = schedule.warmup * (0 if row.arm == "ours" else 6)
    return forward(row.network, shape) * examples * (9 * epochs + 3 * linear - natural)


def cells() -> Iterator[Cell]:
    """All of them; those first that say most in 15 minutes of a GPU."""
    every = [(name, network, method) for name in BLOCKS for network in NETWORKS for method in METHODS]
    for name, network, method in [*_FIRST, *(key for key in every if key not in _FIRST)]:
        block: Schedule = BLOCKS[name]
        row = Row(block, method, network)
        figures = 2 * ((block, method, network) in PRINTED) + 2 * (method == "ours" and (block, network) in BEST)
        yield Cell(name, row, REPEATS[network], figures, operations(row))


def cost() -> str:
    """Markdown: a line a cell, and the sum."""
    found = list(cells())
    rows = [
        (
            cell.block, cell.row.arm, cell.row.network, str(cell.figures), str(cell.repeats),
            f"{cell.operations:.2e}", f"{cell.hours:.2f}",
        )
        for cell in found
    ]  # fmt: skip
    total = ("all", "", "", str(sum(cell.figures for cell in found)), str(sum(cell.repeats for cell in found)))
    rows.append((*total, f"{sum(c.repeats * c.operations for c in found):.2e}", f"{sum(c.hours for c in found):.2f}"))
    return markdown(("block", "method", "network", "figures", "runs", "operations a run", "hours on an H200, all runs"), rows)
