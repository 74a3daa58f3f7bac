"""The inequality, sample by sample: no proven margin lies above a margin that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTRADICTION = "contradiction: "  # how the note of such a verdict begins
_ROUNDINGS = 16  # of a margin that is computed from given outputs


def contradiction(found: Mapping[str, float], proven: Mapping[str, float], *, dtype: torch.dtype, scale: float = 1.0) -> str:
    """Hold every proven margin of one sample against every margin that was found inside its set.

    A proof covers the module's own evaluation, so a margin that was found lies above it, but for the rounding of `C y + d` itself.

    Args:
        found: by method, a value of the least margin at some point of the set: upper bounds. NaN says nothing.
        proven: by method, lower bounds. NaN says nothing.
        dtype: of the arithmetic.
        scale: size of the network's outputs.

    Returns:
        What contradicts what, or nothing: a defect of epsball, which is no answer about the sample.
    """
    slack = _ROUNDINGS * torch.finfo(dtype).eps
    for attack, reached in found.items():
        for method, bound in proven.items():
            if reached < bound - slack * (scale + abs(bound)):
                return (
                    f"{CONTRADICTION}{method!r} proves a margin of at least {bound:.6g}, but {attack!r} found an input with "
                    f"{reached:.6g}. Report this with the network and the input: it is a defect of epsball, or of an added method"
                )
    return ""
