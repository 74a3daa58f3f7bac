"""Losses that train a base classifier for smoothing, as pure functions of logits under noise.

Logits are (m, B, K): the same B inputs under m noise draws. `noisy` makes the inputs, `under` evaluates a network on them.
Every loss is a mean over the batch. None of them draws noise, so what trains and what attacks can share draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch.nn import functional
from torch.special import ndtri

from epsball.attacks.climb import ascend
from epsball.types import Float, Int, Tensor

Function = Callable[[Tensor], Tensor]


def noisy(x: Float[Tensor, "B *x"], sigma: float, draws: int, generator: torch.Generator) -> Float[Tensor, "m B *x"]:
    """Noise draws for each input: (m, B, *x), the noise alone."""
    return sigma * torch.randn((draws, *x.shape), generator=generator, dtype=x.dtype, device=x.device)


def under(function: Function, x: Float[Tensor, "B *x"], noise: Float[Tensor, "m B *x"]) -> Float[Tensor, "m B K"]:
    """Logits of all noisy copies, in one pass."""
    logits = function((x + noise).flatten(0, 1))
    return logits.view(len(noise), len(x), -1)


def gaussian(logits: Float[Tensor, "m B K"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Gaussian augmentation (Cohen 2019): cross-entropy of each noisy copy."""
    return functional.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)))


def soft_cross_entropy(logits: Float[Tensor, "m B K"], y: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """`-log mean_j softmax_y`: the objective that SmoothAdv and SmoothMix ascend, one value a sample."""
    shares = logits.log_softmax(2)[:, torch.arange(len(y), device=y.device), y]
    return math.log(len(logits)) - shares.logsumexp(0)


def smooth_adversary(
    function: Function, x: Float[Tensor, "B *x"], y: Int[Tensor, " B"], noise: Float[Tensor, "m B *x"], eps: float, steps: int = 4
) -> Float[Tensor, "B *x"]:
    """The perturbed inputs of SmoothAdv (Salman 2019): projected ascent in an l2 ball of radius eps, steps of 2 eps / steps.

    Train with `gaussian` (or `consistency`) of the *same* noise at the returned inputs. The network belongs in evaluation mode.
    """

    def objective(shift: Tensor, _: int) -> Tensor:
        return soft_cross_entropy(under(function, x + shift, noise), y).sum()

    def move(shift: Tensor, gradient: Tensor, _: int) -> Tensor:
        return _shortened(shift + 2 * eps / steps * _unit(gradient), eps)

    return x + ascend(objective, torch.zeros_like(x), steps, move)


def consistency(
    logits: Float[Tensor, "m B K"], y: Int[Tensor, " B"], strength: float = 10.0, entropy: float = 0.5
) -> Float[Tensor, ""]:
    """Consistency regularisation (Jeong and Shin 2020): `CE + strength * mean_j KL(mean p || p_j) + entropy * H(mean p)`."""
    logs = logits.log_softmax(2)
    mean = logs.exp().mean(0)
    log_mean = logs.logsumexp(0) - math.log(len(logs))  # finite where the mean itself underflows
    own = (mean * log_mean).sum(1)  # minus the entropy of the mean
    divergence = own - (mean * logs).sum(2).mean(0)
    return gaussian(logits, y) + (strength * divergence - entropy * own).mean()


def macer(
    logits: Float[Tensor, "m B K"], y: Int[Tensor, " B"], sigma: float, strength: float = 12.0, gap: float = 8.0, beta: float = 16.0
) -> Float[Tensor, ""]:
    """MACER (Zhai 2020): soft cross-entropy, and a hinge on the soft radius of samples that are already right.

    `xi = ndtri(p_y) - ndtri(max other p)` of the mean softmax of `beta * logits`; the hinge is `strength sigma / 2 (gap - xi)`
    where 0 <= xi <= gap, for the others it is 0.
    """
    mean = logits.softmax(2).mean(0)
    cross_entropy = functional.nll_loss(mean.clamp(min=1e-10).log(), y)
    sharp = (beta * logits).softmax(2).mean(0)
    own = sharp.gather(1, y[:, None]).squeeze(1)
    other = sharp.scatter(1, y[:, None], -1.0).amax(1)
    right = own > other
    low, high = 1e-6, 1 - 1e-6  # ndtri is infinite at 0 and 1
    xi = ndtri(own.clamp(low, high)) - ndtri(other.clamp(low, high))
    counted = right & (xi <= gap)
    hinge = torch.where(counted, gap - xi, torch.zeros_like(xi)).sum()
    return cross_entropy + strength * sigma / 2 * hinge / len(y)


def smoothmix_points(
    function: Function,
    x: Float[Tensor, "B *x"],
    y: Int[Tensor, " B"],
    noise: Float[Tensor, "m B *x"],
    steps: int = 8,
    size: float = 1.0,
) -> Float[Tensor, "B *x"]:
    """The far end of SmoothMix (Jeong 2021): unit steps of ascent, kept in [0, 1], without a bound on their length."""

    def objective(point: Tensor, _: int) -> Tensor:
        return soft_cross_entropy(under(function, point, noise), y).sum()

    def move(point: Tensor, gradient: Tensor, _: int) -> Tensor:
        return (point + size * _unit(gradient)).clamp(0, 1)

    return ascend(objective, x, steps, move)


def smoothmix(
    logits: Float[Tensor, "m B K"],
    mixed: Float[Tensor, "m B K"],
    y: Int[Tensor, " B"],
    share: Float[Tensor, " B"],
    strength: float = 5.0,
) -> Float[Tensor, ""]:
    """SmoothMix (Jeong 2021): cross-entropy of the noisy inputs, and of their mixtures with a target that fades to uniform.

    Args:
        logits: of `x + noise`.
        mixed: of `(1 - share) x + share far + noise`, same noise; far from `smoothmix_points`.
        y: labels.
        share: in [0, 1/2].
        strength: of the second part, counted where the smoothed prediction is right.
    """
    mean = logits.softmax(2).mean(0).detach()
    target = (1 - share[:, None]) * mean + share[:, None] / mean.shape[1]
    right = (mean.argmax(1) == y).to(mean.dtype)
    divergence = torch.xlogy(target, target).sum(1) - (target * mixed.log_softmax(2)).sum(2).mean(0)
    return gaussian(logits, y) + strength * (right * divergence).mean()


def reconstruction(denoised: Float[Tensor, "m B *x"], x: Float[Tensor, "B *x"]) -> Float[Tensor, ""]:
    """Denoised smoothing (Salman 2020): the mean squared error of a denoiser that stands in front of a fixed classifier."""
    return (denoised - x).square().mean()


def stability(logits: Float[Tensor, "m B K"], clean: Float[Tensor, "B K"]) -> Float[Tensor, ""]:
    """The other part of denoised smoothing: the classifier should say of a denoised copy what it says of the clean input."""
    return gaussian(logits, clean.detach().argmax(1))


def _length(x: Tensor) -> Tensor:
    flat = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp(min=torch.finfo(x.dtype).tiny)
    return cast("Tensor", flat.view(-1, *(1,) * (x.dim() - 1)))


def _unit(x: Tensor) -> Tensor:
    return x / _length(x)


def _shortened(x: Tensor, eps: float) -> Tensor:
    return x * (eps / _length(x)).clamp(max=1)
