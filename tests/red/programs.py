"""Random programs: values of every rank joined by drawn operators, then two to four outputs."""

from __future__ import annotations

import numpy as np
import torch
from tests.red.steps import JOINING, KINDS, NONLINEAR, Do, normal
from torch import Tensor, nn

MOST = 40  # values a sample of one node: the networks stay small
LARGEST = 50.0


class Program(nn.Module):
    """Steps over named earlier values, and a head over the last ones."""

    def __init__(self, steps: list[nn.Module], reads: list[tuple[int, ...]], ends: tuple[int, ...], head: nn.Module) -> None:
        super().__init__()
        self.steps, self.head = nn.ModuleList(steps), head
        self.reads, self.ends = reads, ends

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step, reads in zip(self.steps, self.reads, strict=True):
            values.append(step(*[values[i] for i in reads]))
        return self.head(*[values[i] for i in self.ends])


def program(rng: np.random.Generator, x: Tensor, length: int) -> tuple[nn.Module, tuple[str, ...]]:
    """A program over inputs like x, and the names of its operators."""
    values, steps, reads, names = [x], [], [], []
    probabilities = np.array([kind.weight for kind in KINDS.values()])
    probabilities /= probabilities.sum()
    while len(steps) < length:
        name = str(rng.choice(list(KINDS), p=probabilities))
        kind = KINDS[name]
        picked = _picked(rng, len(values), kind.arity)
        taken = tuple(values[i] for i in picked)
        if any(v.dim() - 1 not in kind.ranks for v in taken):
            continue
        step = kind.make(rng, taken)
        value = _value(step, taken)
        if value is not None:
            steps.append(step)
            reads.append(picked)
            names.append(name)
            values.append(value)
            shared = name in NONLINEAR and rng.random() < 0.3
            if shared:  # the difference of two curves of one value: their errors must not be taken for the same
                _difference(rng, (steps, reads, names, values), picked[0])
    head, ends, end_name = _head(rng, values)
    return Program(steps, reads, ends, head), (*names, end_name)


def _difference(
    rng: np.random.Generator, lists: tuple[list[nn.Module], list[tuple[int, ...]], list[str], list[Tensor]], source: int
) -> None:
    steps, reads, names, values = lists
    for name, picked in ((str(rng.choice(list(NONLINEAR))), (source,)), (str(rng.choice(list(JOINING)[:7])), None)):
        kind = KINDS[name]
        taken = picked if picked is not None else (len(values) - 2, len(values) - 1)
        step = kind.make(rng, tuple(values[i] for i in taken))
        value = _value(step, tuple(values[i] for i in taken))
        if value is None:
            return
        steps.append(step)
        reads.append(taken)
        names.append(name)
        values.append(value)


def _picked(rng: np.random.Generator, count: int, arity: int) -> tuple[int, ...]:
    recent = [count - 1 - min(int(rng.geometric(0.55)) - 1, count - 1) for _ in range(arity)]
    return tuple(recent)


def _value(step: nn.Module, taken: tuple[Tensor, ...]) -> Tensor | None:
    """What a step makes of the values, or None where it does not fit or is of no use."""
    try:
        with torch.no_grad():
            value = step(*taken)
    except (RuntimeError, IndexError, ValueError):
        return None
    fits = value.shape[0] == taken[0].shape[0] and value.dim() <= 4 and 0 < value[0].numel() <= MOST
    tame = bool(value.isfinite().all()) and value.abs().max() < LARGEST
    return value if fits and tame and value.dtype == taken[0].dtype else None


def _head(rng: np.random.Generator, values: list[Tensor]) -> tuple[nn.Module, tuple[int, ...], str]:
    """Outputs from the last values: a linear layer over all of them, or their first numbers as they are."""
    last = len(values) - 1
    ends = (last,) if last < 2 or rng.random() < 0.3 else (last, last - 1 if rng.random() < 0.5 else int(rng.integers(0, last)))
    flat = [values[i].reshape(len(values[i]), -1) for i in ends]
    width, like = sum(v.shape[1] for v in flat), values[0]
    if 2 <= width <= 4 and rng.random() < 0.6:
        return Do(_joined), ends, "head_raw"
    if len(ends) == 2 and values[ends[0]].dim() == 1 == values[ends[1]].dim():
        return Do(lambda a, b: torch.stack((a, b), 1)), ends, "head_stack"
    classes = int(rng.integers(2, 5))
    weight = normal(rng, classes, width, scale=1.5 / width**0.5, like=like)
    bias = normal(rng, classes, scale=0.2, like=like)
    if len(ends) == 1:
        return Do(lambda a, w, b: torch.nn.functional.linear(_joined(a), w, b), weight, bias), ends, "head_linear"
    return Do(lambda a, c, w, b: torch.nn.functional.linear(_joined(a, c), w, b), weight, bias), ends, "head_linear"


def _joined(*values: Tensor) -> Tensor:
    return torch.cat([v.reshape(v.shape[0], -1) for v in values], 1)
