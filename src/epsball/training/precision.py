"""The arithmetic of a training step. Bounds that count are never computed in it: evaluation is exact float32 or float64."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal

import torch

from epsball.device import exact_arithmetic
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

Precision = Literal["float32", "tf32", "bf16"]
"""What products of matrices and convolutions are computed in.

- "float32": what the parameters are stored in.
- "tf32": inputs rounded to 10 bits of mantissa, sums in float32; CUDA only.
- "bf16": inputs and results rounded to 7 bits of mantissa; parameters, batch norm, losses and the optimizer stay in float32.
"""
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise unless a device can train in a precision.

    Raises:
        BadConfig: it cannot.
    """
    able = {
        "float32": True,
        "tf32": device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0),
        "bf16": device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported()),
    }
    if not able[precision]:
        usable = [name for name, can in able.items() if can]
        raise BadConfig(f"{device} cannot train in {precision}", where="train.precision", fix=f"use {' or '.join(usable)}")


@contextlib.contextmanager
def step_arithmetic(precision: Precision) -> Iterator[None]:
    """For a whole step: which products may be rounded to TF32."""
    with exact_arithmetic():  # restores the flags at the end
        if precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        yield


def forward_arithmetic(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """For the loss alone; its gradient is computed in whatever types it was."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
