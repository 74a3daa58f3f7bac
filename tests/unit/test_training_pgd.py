"""Adversarial training, mixtures, and the batch-norm policies."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from epsball.errors import BadConfig
from epsball.ops.network import Network
from epsball.training.base import Batch, Progress
from epsball.training.quantities import Quantities
from epsball.training.recipes.crown_ibp import CrownIbpTraining
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.mixture import Mixture
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.standard import Standard
from epsball.types import Params, Tensor
from plain_formulas import assert_equal, batch, gradient_norm, naive, network

AT = Progress(15, 100, 10)
EPS = 0.1


@dataclass(frozen=True)
class Fixed(Pgd):
    """With the attack's answer given: what is left is the loss."""

    def attacked(self, step: Quantities, seen: Params) -> Tensor:
        return perturbed(step.batch.x, step.eps)


def perturbed(x: Tensor, eps: float) -> Tensor:
    sign = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).to(x.dtype).sub(0.5).sign()
    return (x + eps * sign).clamp(0, 1)


def with_statistics_of(module: nn.Sequential, x: Tensor, other: Tensor, *, detach: bool = False) -> Tensor:
    """Logits of `other`, normalised by the statistics of x."""
    for layer in module:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            shape, axes = (1, -1, *(1,) * (x.dim() - 2)), [d for d in range(x.dim()) if d != 1]
            mean, var = x.mean(axes).view(shape), x.var(axes, unbiased=False).view(shape)
            scale, shift = layer.weight.view(shape), layer.bias.view(shape)
            x = (x - mean) / (var + layer.eps).sqrt() * scale + shift
            mean, var = (mean.detach(), var.detach()) if detach else (mean, var)
            other = (other - mean) / (var + layer.eps).sqrt() * scale + shift
        else:
            x, other = layer(x), layer(other)
    return other


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["clean", "detached", "adversarial", "population"])
@pytest.mark.parametrize("kappa", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adversarial_training_is_the_plain_formula(policy: str, kappa: float, dtype: torch.dtype) -> None:
    module, data = network().to(dtype), batch()
    data = Batch(data.x.to(dtype), data.y)
    net = Network.capture(module, (2, 6, 6))
    recipe = Fixed(EPS, kappa_start=kappa, kappa_end=kappa, batch_norm=policy)
    ours = recipe.loss(net, data, AT)
    other = perturbed(data.x, EPS)
    natural = F.cross_entropy(with_statistics_of(module, data.x, data.x), data.y)
    if policy == "adversarial":
        logits = with_statistics_of(module, other, other)
    else:
        logits = with_statistics_of(module, data.x, other, detach=policy == "detached")
    theirs = kappa * natural + (1 - kappa) * F.cross_entropy(logits, data.y)
    torch.testing.assert_close(ours.total, theirs, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient_norm(ours.total, module), gradient_norm(theirs, module), rtol=1e-5, atol=0)
    module.train()(other if policy == "adversarial" else data.x)  # moves its own running statistics
    for name, value in ours.buffers.items():
        torch.testing.assert_close(value, module.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert len(ours.buffers) == 6


@pytest.mark.slow
def test_the_attack_raises_the_loss_and_stays_in_the_box() -> None:
    module, data = network(), batch()
    net = Network.capture(module, (2, 6, 6))
    for policy in ("clean", "adversarial"):
        recipe = Pgd(EPS, batch_norm=policy)
        x = recipe.attacked(Quantities(net, data, EPS, recipe.clip, policy), net.params())
        assert not x.requires_grad
        assert (x - data.x).abs().max() <= EPS + 1e-12
        assert x.min() >= 0
        assert x.max() <= 1
        parts = recipe.loss(net, data, AT).parts
        fixed = Fixed(EPS, batch_norm=policy).loss(net, data, AT).parts
        assert parts["adversarial"] > fixed["adversarial"], "worse than a random corner"
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.slow
def test_the_attack_follows_the_global_random_state() -> None:
    net, data = Network.capture(network(), (2, 6, 6)), batch()

    def found(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Pgd(EPS, steps=1).attacked(Quantities(net, data, EPS, (0.0, 1.0)), net.params())

    assert torch.equal(found(0), found(0))
    assert not torch.equal(found(0), found(1))


@pytest.mark.slow
@pytest.mark.parametrize("robust", ["ibp", "crown-ibp", "pgd"])
def test_a_mixture_without_robust_loss_is_standard_training_to_the_bit(robust: str) -> None:
    def weights(recipe) -> dict[str, Tensor]:
        torch.manual_seed(2)
        module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        net = Network.capture(module, (6,))
        module.train()
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for step in range(5):
            optimizer.zero_grad()
            data = Batch(torch.rand(10, 6, generator=torch.Generator().manual_seed(step)), torch.arange(10) % 3)
            torch.autograd.backward(recipe.loss(net, data, Progress(step, 5, 1)).total)
            optimizer.step()
        return module.state_dict()

    ours, theirs = weights(Mixture(EPS, weight=0.0, robust=robust, warmup=0, ramp=1)), weights(Standard())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("robust", ["ibp", "crown-ibp"])
def test_a_mixture_is_the_proportion_it_says(weight: float, robust: str) -> None:
    module, data = network(), batch()
    net = Network.capture(module, (2, 6, 6))
    ours = Mixture(EPS, weight=weight, robust=robust, warmup=1, ramp=1).loss(net, data, AT)
    natural, interval, _, _ = naive(module, data.x, data.y, 0.05)
    part = {"ibp": IbpTraining, "crown-ibp": CrownIbpTraining}[robust](EPS, warmup=1, ramp=1, kappa_start=0.0, kappa_end=0.0)
    term = interval if robust == "ibp" else part.loss(net, data, AT).total
    assert_equal(module, ours.total, (1 - weight) * natural + weight * term)
    assert ("natural" in ours.parts) == (weight < 1)


@pytest.mark.slow
def test_detached_statistics_change_the_gradient_and_not_the_loss() -> None:
    module, data = network(), batch()
    net = Network.capture(module, (2, 6, 6))
    clean, detached = (
        IbpTraining(EPS, warmup=0, ramp=0, kappa_end=0.0, batch_norm=p).loss(net, data, AT).total for p in ("clean", "detached")
    )
    torch.testing.assert_close(clean, detached)
    assert not torch.isclose(gradient_norm(clean, module), gradient_norm(detached, module), rtol=1e-3)


@pytest.mark.slow
def test_clean_and_adversarial_statistics_differ_where_they_should() -> None:
    module, data = network(), batch()
    net = Network.capture(module, (2, 6, 6))
    clean, own = (Fixed(EPS, batch_norm=policy).loss(net, data, AT) for policy in ("clean", "adversarial"))
    assert not torch.isclose(clean.total, own.total, rtol=1e-3)
    assert set(clean.buffers) == set(own.buffers)
    assert all(not torch.allclose(clean.buffers[name], own.buffers[name]) for name in clean.buffers)
    at_zero = [Fixed(0.0, batch_norm=policy).loss(net, data, AT).total for policy in ("clean", "adversarial")]
    assert torch.equal(*at_zero)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mixture(EPS, weight=1.5),
        lambda: Mixture(EPS, weight=-0.1),
        lambda: Mixture(EPS, robust="pdg"),
        lambda: Mixture(EPS, robust="ibp", batch_norm="adversarial"),
        lambda: Pgd(EPS, steps=0),
        lambda: Pgd(EPS, batch_norm="batch"),
    ],
)
def test_refused_options(make) -> None:
    with pytest.raises(BadConfig):
        make()
