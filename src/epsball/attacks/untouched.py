"""A network as an attack finds it is a network as the attack leaves it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epsball.types import Function


@contextlib.contextmanager
def untouched(function: Function) -> Iterator[None]:
    """Evaluation mode and no gradients for parameters inside; every flag, buffer and the global random state as before after it.

    A plain function is left to itself, but for the random state. The network must not be used by another thread meanwhile.
    """
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices), contextlib.ExitStack() as stack:
        if isinstance(function, nn.Module):
            stack.enter_context(_as_in_evaluation(function))
        yield


@contextlib.contextmanager
def _as_in_evaluation(module: nn.Module) -> Iterator[None]:
    modes = [(m, m.training) for m in module.modules()]
    leaves = [p for p in module.parameters() if p.is_leaf and p.requires_grad]
    buffers = [(b, b.detach().clone()) for b in module.buffers()]
    try:
        module.eval()
        for parameter in leaves:
            parameter.requires_grad_(False)
        yield
    finally:
        for m, training in modes:
            m.training = training
        for parameter in leaves:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
