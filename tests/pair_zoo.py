"""Every non-linear operator as a function of two numbers a sample, side by side in one network, for tests of pairs and ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo

Function = Callable[[Tensor], Tensor]

# of one number, whatever the rank
POINTWISE: dict[str, Function] = {
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "above": lambda x: x.clamp(min=0.1),
    "hardsigmoid": F.hardsigmoid,
    "cube": lambda x: x**3.0,
    "power": lambda x: x**-1.5,
    "gate": lambda x: x * torch.sigmoid(1 - x),
    "fold": lambda x: torch.maximum(x, 0.2 - x),
    "pit": lambda x: torch.minimum(x, 0.3 * x - 0.1),
    **{name: fn for name, fn in zoo.ELEMENTWISE.items() if name not in {"prelu", "pow", "clamp"}},
}
INSIDE = {"exp", "log", "sqrt", "rsqrt", "reciprocal", "power", "divided"}  # see zoo.elementwise
# of the two numbers together
JOINT: dict[str, Function] = {
    "softmax": lambda h: torch.softmax(h, 1),
    "log_softmax": lambda h: torch.log_softmax(h, 1),
    "max_pool": lambda h: F.max_pool1d(h[:, None], 2, 1)[:, 0].expand(-1, 2),
    "layer_norm": lambda h: F.layer_norm(h, (2,), eps=0.1),
    "matmul": lambda h: (h[:, :, None] @ torch.relu(h)[:, None])[:, 0],
    "prelu": lambda h: F.prelu(h, torch.tensor([0.3, -0.2], dtype=h.dtype)),
}


def pointwise(name: str, x: Tensor) -> Tensor:
    """A function where it is defined."""
    return POINTWISE[name](torch.sigmoid(x) + 1.3 if name in INSIDE else x)


def branches(h: Tensor) -> Tensor:
    """(B, 2) to (B, n): every operator on the first number, and every other one on the second in its place."""
    swapped = h.flip(1)
    made = [pointwise(name, swapped if k % 2 else h) for k, name in enumerate(POINTWISE)]
    return torch.stack([*made, *(fn(h) for fn in JOINT.values())], 1)[:, :, 0]


NAMES = (*POINTWISE, *JOINT)
