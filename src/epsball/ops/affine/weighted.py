"""What linear layers, convolutions and products with constants share: `y = W x + b` by two passes, centre and radius."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch.nn.functional import leaky_relu

from epsball.forms.interval import Interval
from epsball.ops.operator import Affine
from epsball.rounding import NORM, SLACK
from epsball.types import Tensor

_LARGE = 0.5  # an error of so many times the terms: their sum says nothing any more


class Weighted(Affine):
    """`y = W x + b`.

    A subclass has the fields `weight`, `bias` and `spread`: the size of what the bias was added up from, at least its own
    (a batch norm that was folded in adds and subtracts more than what is left), or None for its own.
    """

    weight: Tensor
    bias: Tensor | None
    spread: Tensor | None

    @abstractmethod
    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`weight x + bias`, for any weight of this one's shape."""

    @cached_property
    def magnitude(self) -> Tensor:
        """|W|, a little more where rounding is given away: `(1 + 2 g) |W| (r + g |c|)` holds a radius and both its errors."""
        size = self.weight.abs()
        return size if self.rounding is None else size * (1 + 2 * self._error)

    @cached_property
    def bias_size(self) -> Tensor | None:
        """What the terms of the bias come to."""
        if self.bias is None or self.spread is not None:
            return self.spread
        return self.bias.abs()

    @property
    def extra(self) -> int:
        """Terms besides the products: the bias, and what a batch norm that was folded in does to the result."""
        return 1 if self.spread is None else 1 + NORM

    def value(self, *xs: Tensor) -> Tensor:
        return self.apply(xs[0], self.weight, self.bias)

    def size(self, *magnitudes: Tensor) -> Tensor:
        return self.apply(magnitudes[0], self.magnitude, self.bias_size)

    @cached_property
    def _error(self) -> float:
        """What the module's sum and the bound's own are off by, for each unit of their terms."""
        terms = self.sums.value + 1
        return 0.0 if self.rounding is None else self.rounding.gamma(terms, terms + SLACK)

    @cached_property
    def _bias_radius(self) -> Tensor | None:
        """The error that does not depend on the input: of the bias, and of underflow."""
        if self.rounding is None:
            return None
        least = self.sums.value * self.rounding.tiny
        return self._least(least) if self.bias_size is None else self._error * self.bias_size + least

    def _least(self, least: float) -> Tensor:
        """`least` for each channel: the layout of a bias."""
        return self.weight.new_full((self.weight.shape[0],), least)

    def interval(self, *xs: Interval) -> Interval:
        """Centre through W, radius through |W|; what rounding may do joins the radius, and costs no product of its own."""
        centre = xs[0].centre
        if self._error == 0 or self._error >= _LARGE:
            radius = torch.add(xs[0].upper - centre, centre.abs(), alpha=self._error) if self._error else xs[0].upper - centre
        else:  # the radius and `e |c|` at once: `u - c + e |c|` is `u - (1 - e) c` right of 0 and `u - (1 + e) c` left of it
            kept = 1 - self._error
            radius = torch.sub(xs[0].upper, leaky_relu(centre, (1 + self._error) / kept), alpha=kept)
        centre = self.apply(centre, self.weight, self.bias)
        radius = self.apply(radius, self.magnitude, self._bias_radius)
        return Interval(centre - radius, centre + radius)
