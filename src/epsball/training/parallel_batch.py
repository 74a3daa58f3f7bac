"""What a step computes over its whole batch, whether one process holds it or several: batch norm, and sums over ReLU layers.

One process takes the fused form; several take the plain one, with the few numbers a channel or a layer that they exchange.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from epsball.training import kernels as fused
from epsball.training.kernels import NormalisedBatch, States
from epsball.training.parallel import each, team, whole_mean, whole_sum

if TYPE_CHECKING:
    from epsball.forms.interval import Interval
    from epsball.types import Tensor


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> NormalisedBatch:
    """Batch norm of (B, C, *n) with the statistics of the whole batch, differentiable through all three results."""
    if team().size == 1:
        return fused.batch_norm(x, weight, bias, eps)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(x, axes, unbiased=False)
    means, variances = each(torch.stack((mean, var))).unbind(1)
    mean = means.mean(0)
    var = (variances + (means - mean).square()).mean(0)
    shape = (-1, *(1,) * (x.dim() - 2))
    scale = weight * (var + eps).rsqrt()
    return NormalisedBatch((x - mean.view(shape)) * scale.view(shape) + bias.view(shape), mean, var)


def states(layers: list[Interval]) -> list[States]:
    """What the warm-up regularisers need of every layer's pre-activation bounds, over the whole batch."""
    if team().size == 1:
        return [fused.states(pre) for pre in layers]
    centres = [torch.lerp(pre.lower, pre.upper, 0.5) for pre in layers]
    means = whole_mean(torch.stack([centre.mean() for centre in centres]))
    sums = whole_sum(torch.stack([_sums(*given) for given in zip(layers, centres, means, strict=True)]))
    return [States(row[0] / team().size, *row[1:]) for row in sums]


def _sums(pre: Interval, centre: Tensor, mean: Tensor) -> Tensor:
    active, inactive = ((pre.lower > 0).to(centre.dtype), (pre.upper < 0).to(centre.dtype))
    spread = (centre - mean).square()
    values = (
        pre.width.mean(), (active * centre).sum(), (inactive * centre).sum(), (active * spread).sum(), (inactive * spread).sum(),
        active.sum(), inactive.sum(),
    )  # fmt: skip
    return torch.stack(values)


@contextlib.contextmanager
def whole_batch() -> Iterator[None]:
    """Inside, a module in training mode normalises by the whole batch, and has random numbers of its own for each process."""
    if team().size == 1:
        yield
        return
    seed = int(torch.randint(2**62, ()))  # the same in all processes, whose global states are one
    with torch.random.fork_rng(), _BatchNorms():
        torch.manual_seed(seed + team().rank)
        yield


class _BatchNorms(TorchFunctionMode):
    """`torch.nn.functional.batch_norm` with the statistics of the whole batch, and running ones to match."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.batch_norm:
            return func(*args, **kwargs)
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
        given |= dict(zip(names, args, strict=False)) | kwargs
        if not given["training"]:
            return func(*args, **kwargs)
        return _normalised(given)


def _normalised(given: dict[str, Any]) -> Tensor:
    x, channels = given["input"], given["input"].shape[1]
    weight = x.new_ones(channels) if given["weight"] is None else given["weight"]
    bias = x.new_zeros(channels) if given["bias"] is None else given["bias"]
    normal = batch_norm(x, weight, bias, given["eps"])
    if given["running_mean"] is not None:
        count = x.numel() // channels * team().size
        with torch.no_grad():
            given["running_mean"].lerp_(normal.mean.detach(), given["momentum"])
            given["running_var"].lerp_(normal.var.detach() * (count / (count - 1)), given["momentum"])
    return normal.value
