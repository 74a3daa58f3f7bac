"""exp, log and what is made of them: softplus, log-sigmoid, ELU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from epsball.forms.interval import Interval
from epsball.ops.activations.curved import CONCAVE, CONVEX, Curved, Piece
from epsball.ops.elementwise import relaxations
from epsball.ops.lines import Lines
from epsball.ops.operator import Slope
from epsball.types import Tensor


@relaxations.register("exp")
@dataclass(frozen=True)
class Exp(Curved):
    """`exp(x)`; where it overflows, its bounds are infinite."""

    pieces = CONVEX

    def __call__(self, x: Tensor) -> Tensor:
        return x.exp()

    def derivative(self, x: Tensor) -> Tensor:
        return x.exp()

    def defined(self, pre: Interval) -> Tensor | None:
        return pre.upper < math.log(torch.finfo(pre.upper.dtype).max) / 2


@relaxations.register("log")
@dataclass(frozen=True)
class Log(Curved):
    """`log(x)` for x > 0; on a box that reaches 0 its bounds are infinite, so nothing is proven of such a sample."""

    pieces = CONCAVE

    def __call__(self, x: Tensor) -> Tensor:
        return x.log()

    def derivative(self, x: Tensor) -> Tensor:
        return x.reciprocal()

    def defined(self, pre: Interval) -> Tensor | None:
        return pre.lower >= 4 * torch.finfo(pre.lower.dtype).tiny


@relaxations.register("softplus")
@dataclass(frozen=True)
class Softplus(Curved):
    """`log(1 + exp(beta x)) / beta`, which torch replaces by x where beta x exceeds a threshold.

    The step down at the threshold is `log(1 + exp(-threshold)) / beta`, and the lines know of it.
    """

    beta: float = 1.0
    threshold: float = 20.0
    pieces = CONVEX

    def __call__(self, x: Tensor) -> Tensor:
        return F.softplus(x, self.beta, self.threshold)

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(self.beta * x > self.threshold, 1.0, (self.beta * x).sigmoid())

    @property
    def _step(self) -> float:
        return math.log1p(math.exp(-self.threshold)) / self.beta

    def image(self, pre: Interval) -> Interval:
        found = super().image(pre)
        return Interval(found.lower - self._below(pre), found.upper + self._below(pre))

    def lines(self, pre: Interval, slope: Slope = "adaptive") -> Lines:
        lines = super().lines(pre, slope)
        below, above = lines.lower_bias, lines.upper_bias
        if below is None or above is None:
            return lines
        return lines._replace(lower_bias=below - self._below(pre), upper_bias=above + self._below(pre))

    def _below(self, pre: Interval) -> Tensor:
        """How far torch's function may lie off the exact one on a box."""
        across = (pre.upper * self.beta > self.threshold) & (pre.lower * self.beta <= self.threshold)
        return torch.where(across, pre.upper.new_full((), self._step), 0.0)


@relaxations.register("log_sigmoid")
@dataclass(frozen=True)
class LogSigmoid(Curved):
    """`log(sigmoid(x))`."""

    pieces = CONCAVE

    def __call__(self, x: Tensor) -> Tensor:
        return F.logsigmoid(x)

    def derivative(self, x: Tensor) -> Tensor:
        return (-x).sigmoid()


@relaxations.register("elu")
@dataclass(frozen=True)
class Elu(Curved):
    """`scale x` right of 0 and `scale alpha (exp(input_scale x) - 1)` left of it: ELU, CELU and SELU."""

    alpha: float = 1.0
    scale: float = 1.0
    input_scale: float = 1.0
    knots = (0.0,)

    def __call__(self, x: Tensor) -> Tensor:
        return self.scale * torch.where(x > 0, x, self.alpha * torch.expm1(self.input_scale * x.clamp(max=0)))

    def derivative(self, x: Tensor) -> Tensor:
        rate = self.alpha * self.input_scale
        return self.scale * torch.where(x > 0, 1.0, rate * torch.exp(self.input_scale * x.clamp(max=0)))

    def _parts(self) -> tuple[Piece, ...]:
        if self.alpha * self.input_scale <= 1:
            return CONVEX
        return Piece(-math.inf, 0.0, convex=True), Piece(0.0, math.inf, convex=True)
