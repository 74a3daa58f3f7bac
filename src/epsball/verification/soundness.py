"""The inequality, sample by sample: no proven margin lies above a margin that was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.device import tolerance
from epsball.errors import Unsound

if TYPE_CHECKING:
    from collections.abc import Mapping


class Contradiction(Unsound):
    """A proof and an attack on the same sample that cannot both be right.

    Attributes:
        sample: its place in the batch.
    """

    def __init__(self, what: str, sample: int, where: str | None = None) -> None:
        super().__init__(
            what,
            where=where or f"sample {sample} of the batch",
            fix="report this with the network and the input: it is a defect of epsball, or of the bound method that was added",
        )
        self.sample = sample


def check_sound(
    sample: int, found: Mapping[str, float], proven: Mapping[str, float], *, dtype: torch.dtype, scale: float = 1.0
) -> None:
    """Hold every proven margin of one sample against every margin that was found inside its set.

    Args:
        sample: its place in the batch, for the message.
        found: by method, a value of the least margin at some point of the set: upper bounds. NaN says nothing.
        proven: by method, lower bounds. NaN says nothing.
        dtype: of the arithmetic; its tolerance is what rounding may do to a margin near 0.
        scale: size of the network's outputs; both sides may be off by rounding in proportion to it.

    Raises:
        Contradiction: an attack succeeded where a proof exists, or reached a point below a proven bound.
    """
    least = tolerance(dtype)
    slack = 10 * least * (1 + scale)
    for attack, reached in found.items():
        for method, bound in proven.items():
            if (reached < -least and bound > least) or reached < bound - slack:
                raise Contradiction(
                    f"{method!r} proves a margin of at least {bound:.6g}, but {attack!r} found an input with {reached:.6g}", sample
                )
