"""Training losses written out in plain torch, one layer at a time: the oracle of every recipe."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epsball.training.base import Batch

MEAN, STD = 0.3, 0.25


class Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - MEAN) / STD


def network() -> nn.Sequential:
    torch.manual_seed(5)
    module = nn.Sequential(
        Normalise(), nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.BatchNorm2d(5),
        nn.ReLU(), nn.Flatten(), nn.Linear(20, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4),
    )  # fmt: skip
    for layer in module:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(layer.weight, -0.5, 1.5)  # negative ones swap the ends
            nn.init.uniform_(layer.bias, -2.0, 2.0)  # so that some units are stable
    return module.double()


def batch(size: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(size, 2, 6, 6, generator=generator, dtype=torch.float64)
    return Batch(x, torch.arange(size) % 4)


def naive(module: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]], Tensor]:
    """Natural loss, robust loss, pre-activation bounds and the mean width of the first layer's box."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    clean, pre, first = x, [], torch.zeros(())
    for layer in module:
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer is not module[-1]:
            apply = (lambda v, w, b, s=layer: F.conv2d(v, w, b, s.stride, s.padding)) if layer.weight.dim() == 4 else F.linear
            plus, minus = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
            low, high = (
                apply(low, plus, layer.bias) + apply(high, minus, None),
                apply(high, plus, layer.bias) + apply(low, minus, None),
            )
            clean = layer(clean)
        elif isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm1d)):
            shape = (1, -1, *(1,) * (clean.dim() - 2))
            axes = [d for d in range(clean.dim()) if d != 1]
            mean, var = clean.mean(axes), (clean - clean.mean(axes, keepdim=True)).square().mean(axes)
            scale = (layer.weight / (var + layer.eps).sqrt()).view(shape)
            shift = layer.bias.view(shape) - mean.view(shape) * scale
            clean, ends = clean * scale + shift, (low * scale + shift, high * scale + shift)
            low, high = torch.minimum(*ends), torch.maximum(*ends)
        elif isinstance(layer, nn.ReLU):
            pre.append((low, high))
            clean, low, high = clean.relu(), low.relu(), high.relu()
        elif layer is module[-1]:
            difference = layer.weight[y][:, None] - layer.weight[None]  # elision: (B, K, n)
            offset = layer.bias[y][:, None] - layer.bias[None]
            worst = (difference.clamp(min=0) * low[:, None] + difference.clamp(max=0) * high[:, None]).sum(-1) + offset
            return F.cross_entropy(layer(clean), y), F.cross_entropy(-worst, y), pre, first
        else:
            clean, low, high = layer(clean), layer(low), layer(high)
            first = (high - low).mean() / 2 if isinstance(layer, Normalise) else first
    raise AssertionError


def naive_regularisers(pre: list[tuple[Tensor, Tensor]], first: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    tight, balance = [], []
    for low, high in pre:
        centre = (low + high) / 2
        tight.append(F.relu(tau - first / ((high - low) / 2).mean()) / tau)
        active, inactive = low > 0, high < 0
        if active.sum() == 0 or inactive.sum() == 0:
            balance.append(torch.zeros((), dtype=low.dtype))
            continue
        spread = (centre - centre.mean()) ** 2
        alpha = centre[active].sum() / -centre[inactive].sum()
        beta = spread[active].sum() / spread[inactive].sum()
        balance.append(sum(F.relu(tau - torch.minimum(r, 1 / r)) for r in (alpha, beta)) / tau)
    return torch.stack(tight).mean(), torch.stack(balance).mean()


def gradient_norm(loss: Tensor, module: nn.Module) -> Tensor:
    found = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return torch.stack([g.norm() for g in found if g is not None]).norm()


def assert_equal(module: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=0)
    torch.testing.assert_close(gradient_norm(ours, module), gradient_norm(theirs, module), rtol=1e-6, atol=0)


def dense_layers(module: nn.Sequential, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The affine maps (W, b) between the ReLUs, each as one dense matrix, with the batch statistics of x in batch norm."""
    maps, clean = [], x
    weight, bias = torch.eye(x[0].numel(), dtype=x.dtype), torch.zeros(x[0].numel(), dtype=x.dtype)
    for layer in module:
        shape = clean.shape[1:]
        if isinstance(layer, nn.ReLU):
            maps.append((weight, bias))
            size = shape.numel()
            weight, bias, clean = torch.eye(size, dtype=x.dtype), torch.zeros(size, dtype=x.dtype), clean.relu()
            continue
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            axes = [d for d in range(clean.dim()) if d != 1]
            mean, var = clean.mean(axes), clean.var(axes, unbiased=False)

            def step(v, n=layer, m=mean, s=var):
                m, s, w, b = (t.view(1, -1, *(1,) * (v.dim() - 2)) for t in (m, s, n.weight, n.bias))
                return (v - m) / (s + n.eps).sqrt() * w + b
        else:
            step = layer
        zero = step(torch.zeros(1, *shape, dtype=x.dtype))
        matrix = (step(torch.eye(shape.numel(), dtype=x.dtype).view(-1, *shape)) - zero).flatten(1).T
        weight, bias, clean = matrix @ weight, matrix @ bias + zero.flatten(), step(clean)
    return [*maps, (weight, bias)]


def bounds_by_matrices(layers: list[tuple[Tensor, Tensor]], x: Tensor, eps: float) -> list[tuple[Tensor, Tensor]]:
    """Interval bounds before each ReLU, (B, n)."""
    low, high, found = (x - eps).clamp(min=0).flatten(1), (x + eps).clamp(max=1).flatten(1), []
    for weight, bias in layers[:-1]:
        plus, minus = weight.clamp(min=0), weight.clamp(max=0)
        low, high = low @ plus.T + high @ minus.T + bias, high @ plus.T + low @ minus.T + bias
        found.append((low, high))
        low, high = low.relu(), high.relu()
    return [*found, (low, high)]


def crown_lower(
    layers: list[tuple[Tensor, Tensor]], pre: list[tuple[Tensor, Tensor]], rows: Tensor, x: Tensor, eps: float
) -> Tensor:
    """CROWN's lower bounds (B, R) of the forms rows (B, R, K) of the output, adaptive slopes, bounds of the ReLUs given."""
    form, total = rows, 0.0
    for depth in range(len(layers) - 1, -1, -1):
        weight, bias = layers[depth]
        total, form = total + form @ bias, form @ weight
        if depth == 0:
            break
        low, high = (end[:, None] for end in pre[depth - 1])
        unstable = (low < 0) & (high > 0)
        chord = torch.where(unstable, high / torch.where(unstable, high - low, 1.0), (low >= 0).to(x.dtype))
        below = torch.where(unstable, (high > -low).to(x.dtype), (low >= 0).to(x.dtype))
        total = total + torch.where(unstable & (form < 0), -form * chord * low, 0.0).sum(-1)
        form = torch.where(form < 0, form * chord, form * below)
    low, high = (x - eps).clamp(min=0).flatten(1)[:, None], (x + eps).clamp(max=1).flatten(1)[:, None]
    return total + (form.clamp(min=0) * low + form.clamp(max=0) * high).sum(-1)


def naive_crown(module: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """CROWN-IBP bounds (B, K) of `z_k - z_y`."""
    layers = dense_layers(module, x)
    unit = torch.eye(len(layers[-1][1]), dtype=x.dtype)
    return -crown_lower(layers, bounds_by_matrices(layers, x, eps), unit[y][:, None] - unit, x, eps)


def naive_fused(module: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The fused and the interval bound (B,) of `sum_k exp(z_k - z_y)`."""
    layers = dense_layers(module, x)
    pre = bounds_by_matrices(layers, x, eps)
    weight, bias = layers[-1]
    unit = torch.eye(len(bias), dtype=x.dtype)
    difference, offset = weight[None] - weight[y][:, None], bias[None] - bias[y][:, None]
    plus, minus, (low, high) = difference.clamp(min=0), difference.clamp(max=0), (end[:, None] for end in pre[-1])
    least, most = (plus * low + minus * high).sum(-1) + offset, (plus * high + minus * low).sum(-1) + offset
    others = torch.arange(len(bias)) != y[:, None]
    slope = torch.where(others, (most.exp() - least.exp()) / torch.where(others, most - least, 1.0), 0.0)
    form = (slope[:, :, None] * (unit[None] - unit[y][:, None])).sum(1)
    greatest = -crown_lower(layers, pre, -form[:, None], x, eps)[:, 0]
    return (most.exp() - slope * most).sum(1) + greatest, most.exp().sum(1)
