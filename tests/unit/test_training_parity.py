"""The first step of every registered recipe, loss and gradient norm, against formulas in plain torch to 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress, Recipe, recipes
from epsball.training.config import TrainConfig
from epsball.training.recipes.crown_ibp import CrownIbpTraining, FusedCrownIbp
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.mixture import Mixture
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.standard import Standard
from epsball.training.step import Stepper
from plain_formulas import (
    batch,
    bounds_by_matrices,
    dense_layers,
    gradient_norm,
    naive,
    naive_crown,
    naive_fused,
    naive_regularisers,
    network,
)

EPS = 0.1


@dataclass(frozen=True)
class Point:
    """A moment of a schedule, its numbers worked out by hand: a linear ramp at 1/2, or its end."""

    ramp: int
    eps: float
    kappa: float
    beta: float

    @property
    def at(self) -> Progress:
        return Progress(5, 100, 10)


HALF, FULL = Point(1, EPS / 2, 0.75, 0.5), Point(0, EPS, 0.5, 0.0)
Formula = Callable[[nn.Sequential, Tensor, Tensor, Point], Tensor]


def natural(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    return naive(module, x, y, point.eps)[0]


def interval(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    return naive(module, x, y, point.eps)[1]


def ibp(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    clean, robust, _, _ = naive(module, x, y, point.eps)
    return point.kappa * clean + (1 - point.kappa) * robust


def fast_ibp(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    _, robust, pre, first = naive(module, x, y, point.eps)
    return robust + 0.5 * (1 - point.eps / EPS) * sum(naive_regularisers(pre, first, 0.5))


def mixed_bounds(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    """Cross-entropy of the mean of both bounds of the worst-case logits, weighted by beta."""
    layers = dense_layers(module, x)
    weight, bias = layers[-1]
    low, high = (end[:, None] for end in bounds_by_matrices(layers, x, point.eps)[-1])
    difference = weight[None] - weight[y][:, None]
    intervals = (difference.clamp(min=0) * high + difference.clamp(max=0) * low).sum(-1) + bias[None] - bias[y][:, None]
    return F.cross_entropy(point.beta * naive_crown(module, x, y, point.eps) + (1 - point.beta) * intervals, y)


def crown_ibp(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    return point.kappa * natural(module, x, y, point) + (1 - point.kappa) * mixed_bounds(module, x, y, point)


def fused_crown_ibp(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    fused, plain = naive_fused(module, x, y, point.eps)
    return (point.beta * fused + (1 - point.beta) * plain).log().mean()


def attacked(module: nn.Sequential, x: Tensor, y: Tensor, point: Point) -> Tensor:
    """Two signed steps of half a radius from a random start; of every point on the way, the one of least margin."""

    def logits(other: Tensor, *, detach: bool) -> Tensor:
        here, there = x, other
        for layer in module:
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                axes, shape = [d for d in range(here.dim()) if d != 1], (1, -1, *(1,) * (here.dim() - 2))
                mean, var = here.mean(axes).view(shape), here.var(axes, unbiased=False).view(shape)
                mean, var = (mean.detach(), var.detach()) if detach else (mean, var)
                here, there = (
                    (v - mean) / (var + layer.eps).sqrt() * layer.weight.view(shape) + layer.bias.view(shape) for v in (here, there)
                )
            else:
                here, there = layer(here), layer(there)
        return there

    def margin(z: Tensor) -> Tensor:
        others = torch.arange(z.shape[1]) != y[:, None]
        return (z.gather(1, y[:, None]) - z)[others].view(len(y), -1).amin(1)

    low, high = (x - point.eps).clamp(min=0), (x + point.eps).clamp(max=1)
    radius = torch.maximum(high - x, x - low)
    current = low + (high - low) * torch.rand(x.shape, dtype=x.dtype)
    visited = [x, current]
    for _ in range(2):
        current = current.detach().requires_grad_()
        loss = F.cross_entropy(logits(current, detach=True), y, reduction="sum")
        (slope,) = torch.autograd.grad(loss, current)
        current = torch.minimum(torch.maximum(current + 0.5 * radius * slope.sign(), low), high).detach()
        visited.append(current)
    margins = torch.stack([margin(logits(v, detach=True)).detach() for v in visited])
    worst = torch.stack([v.detach() for v in visited])[margins.argmin(0), torch.arange(len(y))]
    return F.cross_entropy(logits(worst, detach=False), y)


def mixture(robust: Formula) -> Formula:
    return lambda module, x, y, point: 0.7 * natural(module, x, y, point) + 0.3 * robust(module, x, y, point)


CASES: list[tuple[str, type[Recipe], dict, Formula]] = [
    ("standard", Standard, {}, natural),
    ("ibp", IbpTraining, {}, ibp),
    ("fast-ibp", FastIbp, {"shape": "linear"}, fast_ibp),
    ("crown-ibp", CrownIbpTraining, {}, crown_ibp),
    ("crown-ibp-fused", FusedCrownIbp, {}, fused_crown_ibp),
    ("pgd", Pgd, {"steps": 2, "step_size": 0.5}, attacked),
    ("mixture", Mixture, {"weight": 0.3, "robust": "ibp"}, mixture(interval)),
    ("mixture", Mixture, {"weight": 0.3, "robust": "crown-ibp"}, mixture(mixed_bounds)),
    ("mixture", Mixture, {"weight": 0.3, "robust": "pgd", "steps": 2, "step_size": 0.5}, mixture(attacked)),
]


UNDER_NOISE = {
    "gaussian",
    "noise",
    "smoothadv",
    "consistency",
    "macer",
    "smoothmix",
    "denoise",
}  # test_training_smoothing, test_denoised


def test_every_recipe_has_its_formula() -> None:
    assert {name for name, *_ in CASES} == set(recipes) - UNDER_NOISE
    assert all(recipes[name] is kind for name, kind, *_ in CASES)


@pytest.fixture(scope="module")
def captured() -> Network:
    return Network.capture(network(), (2, 6, 6))


@pytest.mark.slow
@pytest.mark.parametrize("point", [HALF, FULL], ids=["half", "full"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "kind", "options", "formula"), CASES, ids=[f"{c[0]}-{c[2].get('robust', '')}" for c in CASES])
def test_the_first_step(
    captured: Network, name: str, kind: type[Recipe], options: dict, formula: Formula, dtype: torch.dtype, point: Point
) -> None:
    module = captured.module.to(dtype)
    module.load_state_dict(network().state_dict())
    module.train()
    data = batch()
    data = Batch(data.x.to(dtype), data.y)
    recipe = kind(**options) if kind is Standard else kind(EPS, warmup=0, ramp=point.ramp, **options)

    torch.manual_seed(7)
    theirs = formula(module, data.x, data.y, point)
    norm = gradient_norm(theirs, module)
    module.load_state_dict(network().state_dict())
    take = Stepper(captured, recipe, TrainConfig(batch=12, clip_norm=1e9, lr=1e-12), Examples(data.x, data.y))
    torch.manual_seed(7)
    take(torch.arange(12), point.at)
    ours = torch.stack([p.grad.norm() for p in module.parameters() if p.grad is not None]).norm()
    assert take.window.read(1)[""] == pytest.approx(theirs.item(), rel=1e-5)
    torch.testing.assert_close(ours, norm, rtol=1e-5, atol=0)
