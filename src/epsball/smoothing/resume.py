"""What certificates depend on, so that a run is only ever continued with the same network, noise and procedure."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from epsball.smoothing.core import Smoothed
from epsball.smoothing.sampling.sampler import Function
from epsball.smoothing.statistics.procedures import Procedure


def fingerprint(module: Function) -> str:
    """A hash of a network's layers, parameters and buffers; a plain function is known by its name alone."""
    if not isinstance(module, nn.Module):
        return getattr(module, "__qualname__", type(module).__name__)
    found = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def description(
    smoothed: Smoothed, procedure: Procedure, alpha: float, selection: int, radius: float | None = None
) -> dict[str, Any]:
    """Everything that a certificate depends on besides the image, as plain values for the header of a record."""
    return {
        "model": fingerprint(smoothed.module),
        "noise": repr(smoothed.law),
        "classes": smoothed.classes,
        "seed": smoothed.seed,
        "procedure": repr(procedure),
        "alpha": alpha,
        "selection": selection,
        "radius": radius,
    }
