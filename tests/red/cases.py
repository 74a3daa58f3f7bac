"""A case of the red team: a module, a set of inputs and labels, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tests.red.families import FAMILIES
from tests.red.programs import program
from tests.red.regions import Region
from torch import Tensor, nn

SHAPES = [(2,), (2,), (3,), (4,), (1,), (6,), (2, 3), (1, 4), (4, 1), (1, 4, 4), (2, 2, 3), (1, 1, 3)]
INTEGERS = [torch.int64, torch.int64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]


@dataclass(frozen=True)
class Case:
    """What a user would hand over, and where it came from."""

    seed: int
    family: str
    operators: tuple[str, ...]
    module: nn.Module
    region: Region
    labels: Tensor

    def __str__(self) -> str:
        x = self.region.centre
        kind = f"{self.region.kind} eps {self.region.eps:.4g}"
        return f"{self.family} {'-'.join(self.operators)} {tuple(x.shape)} {x.dtype} {kind} labels {self.labels.dtype}"


def case(seed: int) -> Case:
    """The case of a seed: two of five are random programs, the others are architectures."""
    rng = np.random.default_rng([seed, 10])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        dtype = torch.float64 if rng.random() < 0.5 else torch.float32
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        region = _region(rng, shape, dtype)
        family, operators, module = _module(rng, shape, region.centre)
        module.to(dtype)
        labels = _labels(rng, module, region.centre)
    return Case(seed, family, operators, module, region, labels)


def _module(rng: np.random.Generator, shape: tuple[int, ...], x: Tensor) -> tuple[str, tuple[str, ...], nn.Module]:
    if rng.random() < 0.4:
        module, names = program(rng, x, int(rng.integers(2, 9)))
        return "program", names, module
    family = str(rng.choice(list(FAMILIES)))
    return family, (), FAMILIES[family](rng, shape)


def _region(rng: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> Region:
    batch = int(rng.integers(1, 4))
    clip = (0.0, 1.0) if rng.random() < 0.25 else None
    if clip:
        x = rng.random((batch, *shape))
    else:  # samples that differ very much: a mixture of two shows
        x = rng.normal(0, 1, (batch, *shape)) * np.array([0.2, 1.0, 3.0])[rng.permutation(3)[:batch]].reshape(-1, *[1] * len(shape))
    centre = torch.from_numpy(x).to(dtype)
    eps = float(10 ** rng.uniform(-2, -0.1))
    kind = str(rng.choice(["linf", "linf", "linf", "box", "l2", "l1"]))
    if kind != "box":
        return Region(kind, centre, eps, None, clip)
    radius = torch.from_numpy(eps * rng.random(shape) * (rng.random(shape) < 0.8)).to(dtype)
    return Region(kind, centre, eps, radius, clip)


def _labels(rng: np.random.Generator, module: nn.Module, x: Tensor) -> Tensor:
    mode = {m: m.training for m in module.modules()}
    module.eval()
    with torch.no_grad():
        outputs = module(x.clone())
    for m, training in mode.items():
        m.training = training
    answers = outputs.argmax(1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).long()
    labels = answers if rng.random() < 0.85 else torch.from_numpy(rng.integers(0, max(2, outputs.shape[1]), len(x)))
    kind = INTEGERS[int(rng.integers(len(INTEGERS)))]
    if outputs.shape[1] <= 2 and rng.random() < 0.05:
        kind = torch.bool
    return labels.to(kind)
