"""Device, precision, threads and seeds: the one place that knows them."""

from __future__ import annotations

import contextlib
import ctypes
import random
import sys
from array import array
from operator import index
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

# What solvers and comparisons of two computations may differ by, in proportion to their size. Never part of a proof.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

_ALL = 2**64 - 1
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def tolerance(dtype: torch.dtype) -> float:
    """What two computations of one number may differ by, for one arithmetic; a proof has its own account (`epsball.rounding`)."""
    if dtype not in TOLERANCE:
        raise BadConfig(
            f"certificates are computed in float32 or float64, not {dtype}",
            fix="convert the network with .float()",
        )
    return TOLERANCE[dtype]


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
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise BadConfig(f"a seed of {seed}", where=where, fix="give a whole number from 0 to 2^63 - 1")
    return seed


def generator(device: torch.device, seed: int, *places: int) -> torch.Generator:
    """The generator of one place in a run, such as (epoch, step) or (image, stream, block): no two places of a run share a stream.

    It starts from the 64 bits of `stream_seed`, and keeps all of them. CUDA's (Philox) does so by itself. The CPU's (MT19937) keeps
    the low 32 of a seed, so its whole state is filled from the 64 by the initialisation that MT19937's authors give for such keys;
    Python's own generator is that one.

    Raises:
        BadConfig: as `stream_seed`.
    """
    number = stream_seed(seed, *places)
    made = torch.Generator(device=device).manual_seed(number)
    if made.device.type == "cpu":
        words = random.Random(number).getstate()[1][:624]
        # as after manual_seed: the seed, two marks (1, 1), the place among the words, these, and no normal number left over
        state = array("Q", (number, 2**32 + 1, 0, *words, 0, 0, 0, 0, 0))
        made.set_state(torch.frombuffer(state, dtype=torch.uint8))
    return made


def stream_seed(seed: int, *places: int) -> int:
    """A 64-bit number for each place in the run of a seed, all different by construction.

    The places are written behind one another, each after its length, into one number below 2^64: two tuples, also of different
    lengths, never give the same. That number then goes through a permutation of the 64-bit numbers, which the seed chooses.

    Raises:
        BadConfig: a seed beyond 64 bits, a negative place, or places that do not fit into 64 bits together.
    """
    if not -(2**63) <= seed < 2**64:
        raise BadConfig(f"a seed of {seed} does not fit into 64 bits", fix="give a seed between 0 and 2^63 - 1")
    number = 1
    for place in map(index, places):
        length = place.bit_length()
        number = ((number << 6 | length) << length) | place
        if place < 0 or number > _ALL:
            raise BadConfig(
                f"no stream of random numbers has the place {places}",
                fix="places (numbers of images, blocks, epochs, steps) are 0 or more; three of them have 45 binary digits together",
            )
    key = _mixed((seed + 0x9E3779B97F4A7C15) & _ALL)
    return _mixed((_mixed(number ^ key) + key) & _ALL)


def _mixed(number: int) -> int:
    """The last step of splitmix64: a permutation of the 64-bit numbers."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _ALL
    return number ^ (number >> 31)


def reuse_memory() -> bool:
    """Let the process keep freed tensors' memory. A training step on a CPU takes 10 to 15 % less time (measured).

    Changes no number and only this process; glibc only.

    Returns:
        Whether the C library took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        # older versions take no threshold above half a heap
        kept = mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
        return bool(kept and mallopt(_TRIM_THRESHOLD, 2**31 - 1) and mallopt(_TOP_PAD, 2**26))
    return False
