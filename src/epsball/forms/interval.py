"""Intervals: an elementwise lower and upper bound of one tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch

from epsball.types import Tensor


class Interval(NamedTuple):
    """Elementwise bounds `lower <= value <= upper`, both of shape (B, *n)."""

    lower: Tensor
    upper: Tensor

    @classmethod
    def ordered(cls, a: Tensor, b: Tensor) -> Interval:
        """The smallest interval that holds both ends, whichever is larger: rounding can swap two equal ends."""
        return cls(torch.minimum(a, b), torch.maximum(a, b))

    @property
    def centre(self) -> Tensor:
        return torch.lerp(self.lower, self.upper, 0.5)

    @property
    def width(self) -> Tensor:
        return self.upper - self.lower

    @property
    def magnitude(self) -> Tensor:
        """The largest absolute value."""
        return torch.maximum(-self.lower, self.upper)

    def centre_radius(self) -> tuple[Tensor, Tensor]:
        """Centre and radius, in two operations."""
        centre = torch.lerp(self.lower, self.upper, 0.5)
        return centre, self.upper - centre

    def intersect(self, other: Interval) -> Interval:
        """Both bounds at once. Ends that rounding made cross are kept as an interval that holds both."""
        return Interval.ordered(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))

    def contains(self, value: Tensor, slack: float = 0.0) -> Tensor:
        """True where a value lies inside, up to a stated slack."""
        return (value >= self.lower - slack) & (value <= self.upper + slack)
