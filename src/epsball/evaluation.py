"""Evaluation mode for a while: the one place that sets and restores it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@contextlib.contextmanager
def evaluation_mode(module: nn.Module, *, restore: bool = False) -> Iterator[None]:
    """Evaluation mode inside; each submodule's own mode as before after it, also when an error leaves it.

    Args:
        module: must not be used by another thread meanwhile.
        restore: also no gradients for parameters inside, and every buffer and flag as before after it.
    """
    modes = [(m, m.training) for m in module.modules()]
    leaves = [p for p in module.parameters() if p.is_leaf and p.requires_grad] if restore else []
    buffers = [(b, b.detach().clone()) for b in module.buffers()] if restore else []
    try:
        evaluate(module)
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


def evaluate(module: nn.Module) -> None:
    """Evaluation mode for good, for every part of a module.

    A program of torch.export has the one mode that it was exported in and refuses to be told; `Module.eval` would end there, and
    leave the layers that come after it as they were.
    """
    try:
        module.eval()
    except NotImplementedError:
        for part in module.modules():
            part.training = False
