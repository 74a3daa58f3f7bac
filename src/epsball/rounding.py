"""What floating point may do to a sum: the allowance that every bound carries (docs/explanation/rounding.md has the theorem).

Two errors, both in proportion to the numbers that are added up. The module's own evaluation of n terms, in any order, with or
without fused multiply-add, is off by at most `gamma_n` times the sum of their absolute values, `gamma_n = n u / (1 - n u)` (Higham
2002, Sec. 3.1); and so is the bound's own sum, with its own n and its own unit u. Products may also underflow, or be flushed to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import torch

from epsball.errors import BadConfig

CERTIFYING = (torch.float32, torch.float64)
ULPS = 4  # units in the last place that an elementwise function may be off: assumed, of the module's library and of ours
NORM = 2 * ULPS + 6  # roundings of a batch norm: a difference, a root and its reciprocal, two products, two sums
SLACK = 16  # roundings besides those of a sum: scaling a row, halving an interval, adding a bias


@dataclass(frozen=True)
class Rounding:
    """The arithmetic that a bound speaks of, and its own.

    Attributes:
        own: dtype of the bound's own arithmetic.
        module: dtype in which the network is evaluated, by sums in any order; None: in real numbers.
        steps: of the network: a bound's running total is rounded once at each.
    """

    own: torch.dtype
    module: torch.dtype | None
    steps: int = 0

    def __post_init__(self) -> None:
        for dtype in (self.own, self.module):
            if dtype is not None and dtype not in CERTIFYING:
                raise BadConfig(
                    f"certificates are computed in float32 or float64, not {dtype}", fix="convert the network with .float()"
                )

    @cached_property
    def of_module(self) -> float:
        """Unit roundoff of the module's arithmetic; never finer than the bound's own, which a witness is looked at in, too."""
        return 0.0 if self.module is None else max(unit(self.module), unit(self.own))

    @cached_property
    def tiny(self) -> float:
        """What one product may lose below the normal numbers, even where they are flushed to 0."""
        return max(torch.finfo(d).tiny for d in (self.own, self.module) if d is not None)

    @property
    def running(self) -> int:
        """Roundings of a number on its way into a form's total: its own few, and one for each step that adds to the total."""
        return SLACK + self.steps

    def gamma(self, module: int, own: int) -> float:
        """How far a sum of `module` terms and one of `own` terms may be off together, for each unit of their absolute values."""
        return gamma(module, self.of_module) + gamma(own, unit(self.own))

    @property
    def elementwise(self) -> float:
        """The same for an elementwise function: both the module's and the bound's own, `ULPS` units in the last place each."""
        return 2 * ULPS * (self.of_module + unit(self.own))

    def describe(self) -> str:
        """How a verdict states what was proven."""
        name = str(self.own).removeprefix("torch.")
        if self.module is None:
            return f"real, bounds in {name} with their rounding given away"
        return f"{str(self.module).removeprefix('torch.')}, any order of sums, bounds in {name}"


@cache
def unit(dtype: torch.dtype) -> float:
    """Unit roundoff: half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


def gamma(terms: int, u: float) -> float:
    """`n u / (1 - n u)`: infinite where n roundings may lose everything."""
    lost = terms * u
    return lost / (1 - lost) if lost < 1 else math.inf


class Ends(NamedTuple):
    """The two ends of an interval (B, *n), and what the terms that make them up come to."""

    low: torch.Tensor
    high: torch.Tensor
    low_size: torch.Tensor
    high_size: torch.Tensor


def outside(ends: Ends, share: float, least: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Both ends moved outwards by a share of their terms and by `least`.

    Where an end's terms all have one sign, so does every floating-point value beyond it: the end does not cross 0.
    """
    low = ends.low - (share * ends.low_size + least)
    high = ends.high + (share * ends.high_size + least)
    low = torch.where(ends.low == ends.low_size, low.clamp(min=0), low)
    return low, torch.where(ends.high == -ends.high_size, high.clamp(max=0), high)
