"""Device, precision, threads and seeds: the one place that knows them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

# A proven margin counts only above this, times the size of outputs and bounds where that exceeds 1: docs/explanation/rounding.md.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def tolerance(dtype: torch.dtype) -> float:
    """The margin below which a bound is not called a proof, for one arithmetic."""
    if dtype not in TOLERANCE:
        raise BadConfig(
            f"certificates are computed in float32 or float64, not {dtype}",
            fix="convert the network with .float()",
        )
    return TOLERANCE[dtype]


def arithmetic(dtype: torch.dtype) -> str:
    """How a verdict states what was and what was not proven about rounding."""
    name, least = str(dtype).removeprefix("torch."), tolerance(dtype)
    return f"{name}, margin > {least:g} x max(1, size of outputs and bounds), no directed rounding inside the network"


def resolve(name: str) -> torch.device:
    """The device of that name, or the fastest one that can certify for "auto".

    Raises:
        BadConfig: torch does not know the device, or it is not present.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadConfig(
            f"device {name!r} cannot be used: {str(error).splitlines()[0]}",
            fix="use --device cpu or --device auto",
        ) from error
    return device


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """No TF32 inside: a bound is computed in the precision that its tensors say."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def recycle_memory(device: torch.device) -> None:
    """Let the C library keep freed blocks for the next request instead of handing them back to the system.

    Many equal temporaries follow each other when rows are pulled back; with glibc's first thresholds each is mapped anew, and its
    page faults take as long as the arithmetic (cnn4: 2,900 forward passes for CROWN against 1,650). Freeing one block just below
    glibc's largest threshold (32 MiB) moves both of its thresholds there, for the process. Elsewhere it does nothing.
    """
    if device.type == "cpu":
        torch.empty(2**25 - 2**17, dtype=torch.uint8)


def check_seed(seed: int, where: str = "seed") -> int:
    """A seed that every generator can hold.

    Raises:
        BadConfig: below 0, or of more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise BadConfig(f"a seed of {seed}", where=where, fix="give a whole number from 0 to 2^63 - 1")
    return seed


def generator(device: torch.device, *seeds: int) -> torch.Generator:
    """A generator that depends on all the seeds, so that (seed, epoch, step) never repeats a stream."""
    state = 0x9E3779B97F4A7C15
    for seed in seeds:  # splitmix64, one round a seed
        state = (state + seed * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator(device=device).manual_seed(state & 0x7FFFFFFFFFFFFFFF)
