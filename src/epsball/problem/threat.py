"""What may happen to an input: the perturbations that a network is trained against, attacked with and verified for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.errors import BadConfig
from epsball.problem.sets.base import Clip, around, sets

if TYPE_CHECKING:
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor


@dataclass(frozen=True)
class Threat:
    """A ball around each input, cut to a valid range.

    Attributes:
        eps: its radius, in the units of the inputs.
        norm: a key of `epsball.problem.sets.base.sets`, such as "linf" or "l2".
        clip: valid range of the inputs, or None.

    Raises:
        BadConfig: a radius that is negative or not finite, an unknown norm.
    """

    eps: float
    norm: str = "linf"
    clip: Clip = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise BadConfig(f"a radius must be a finite number of at least 0, not {self.eps}", where="eps", fix="give eps=0.1")
        sets[self.norm]

    def around(self, x: Tensor) -> InputSet:
        """The set around each input (B, *x)."""
        return around(self.norm, x, self.eps, self.clip)

    def __str__(self) -> str:
        """As a formula."""
        cut = "" if self.clip is None else f", x' in [{self.clip[0]:g}, {self.clip[1]:g}]"
        name = {"linf": "|x' - x|_inf", "l2": "|x' - x|_2", "l1": "|x' - x|_1"}.get(self.norm, f"{self.norm}(x', x)")
        return f"{name} <= {self.eps:g}{cut}"
