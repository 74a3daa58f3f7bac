"""A network as an attack finds it is a network as the attack leaves it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import nn

from epsball.evaluation import evaluation_mode

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
            stack.enter_context(evaluation_mode(function, restore=True))
        yield
