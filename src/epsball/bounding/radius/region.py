"""The largest certified region around an input: a radius by bisection over any bound method, and a non-uniform box."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.bounding.base import Bounder, least_margins
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig
from epsball.problem.problem import check_input
from epsball.problem.sets import Box, Clip, InputSet, LpBall, Norm
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from epsball.ops.prepared import Prepared
    from epsball.problem.property import Property

_UPDATE = 5  # steps of Adam between two updates of the multipliers
_GROWTH = 80  # steps between two growths of the penalty


@torch.no_grad()
def holds(method: Bounder, network: Prepared, input_set: InputSet, prop: Property) -> Tensor:
    """(B,) whether a method proves the property."""
    return least_margins(method, network, input_set, prop) > 0


def largest(proven: Callable[[Tensor], Tensor], like: Float[Tensor, " B"], high: float, steps: int) -> Float[Tensor, " B"]:
    """For each sample the largest number of [0, high] that bisection found to be proven: 0 where even 0 is not.

    Bounds need not be monotone, so this is a proven number, and not always the largest one.
    """
    low, top = torch.zeros_like(like), torch.full_like(like, high)
    low = torch.where(proven(top), top, low)
    for _ in range(steps):
        middle = (low + top) / 2
        good = proven(middle)
        low, top = torch.where(good, middle, low), torch.where(good, top, middle)
    return low


@dataclass(frozen=True)
class Radius:
    """The largest certified radius, by bisection.

    Attributes:
        method: any sound bound method.
        norm: "linf" or "l2".
        clip: the valid range of the inputs, or None.
        high: the largest radius that is tried.
        steps: halvings; the result is within `high / 2 ** steps` of where the method stops proving.

    Shapes:  x (B, *x); result (B,), 0 where the property is not even proven at x.
    Sound:   yes: every radius returned was proven.   Complete: no.
    Cost:    one bound a step.
    Raises:  BadConfig, BadShape.
    """

    method: Bounder = field(default_factory=Crown)
    norm: Norm = "linf"
    clip: Clip = None
    high: float = 1.0
    steps: int = 20

    def __post_init__(self) -> None:
        if not (math.isfinite(self.high) and self.high > 0) or self.steps < 1:
            raise BadConfig("a radius search needs a finite high > 0 and steps >= 1")

    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Float[Tensor, " B"]:
        """The radius of each sample."""
        check_input(x, network.plan.graph.input_shape)
        start = x.new_zeros(len(x))
        if self.norm == "linf":

            def inside(radius: Tensor) -> Tensor:
                return holds(self.method, network, Box(x, _spread(radius, x), self.clip), prop)

            return largest(inside, start, self.high, self.steps)

        def alone(i: int) -> Tensor:
            own = prop.take(torch.tensor([i], dtype=torch.long, device=x.device))

            def proven(radius: Tensor) -> Tensor:
                return holds(self.method, network, LpBall(x[i : i + 1], float(radius), self.norm, self.clip), own)

            return largest(proven, start[i : i + 1], self.high, self.steps)

        return torch.cat([alone(i) for i in range(len(x))])


@dataclass(frozen=True, eq=False)
class Region:
    """Certified boxes `x - radius <= x' <= x + radius`.

    Attributes:
        radius: (B, *x), 0 where nothing was proven.
        uniform: (B,) the largest uniform radius found on the way.
    """

    radius: Tensor
    uniform: Tensor

    @property
    def gain(self) -> Float[Tensor, " B"]:
        """Geometric-mean width over the uniform box's, minus 1; 0 where there is none."""
        mean = self.radius.flatten(1).log().mean(1).exp()
        return torch.where(self.uniform > 0, mean / self.uniform - 1, 0.0)


@dataclass(frozen=True)
class NonUniform:
    """The box of largest volume that a differentiable bound method certifies.

    Maximises the sum of log radii subject to every margin being positive, by an augmented Lagrangian whose slack is eliminated,
    over the logarithms of the radii. It starts at the uniform optimum; each constraint is measured in its own nominal margin, which
    makes the multipliers' scale known (their sum is about -d). At the end the box is scaled to the largest that the method proves,
    and the uniform one is kept where that is larger.

    Attributes:
        method: bounds the margins; must be differentiable in the box. "same" slopes make it smooth.
        clip: the valid range, or None. With it no radius grows beyond the range.
        steps: of Adam.
        lr: its first step size, in logarithms; falls to 0 along a cosine.
        search: halvings of the two bisections.
        high: the largest uniform radius that is tried.

    Shapes:  x (B, *x).
    Sound:   yes: the final box was proven, its ends rounded outwards.   Complete: no.
    Cost:    one bound with its gradient a step.
    Raises:  BadConfig, BadShape.
    Paper:   Liu, Tomioka and Cevher 2019, On Certifying Non-uniform Bounds against Adversarial Attacks, Sec. 3.  Differs: warm
        start, scale, and logarithms of radii instead of square roots.
    """

    method: Bounder = field(default_factory=lambda: Crown(slope="same", intermediate="crown"))
    clip: Clip = None
    steps: int = 150
    lr: float = 0.05
    search: int = 20
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 0 or not self.lr > 0:
            raise BadConfig("a non-uniform box needs steps >= 0 and lr > 0")

    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Region:
        """The boxes of a batch."""
        uniform = Radius(self.method, "linf", self.clip, self.high, self.search)(network, x, prop)
        flat = _spread(uniform, x)
        shape = self._ascend(network, x, prop, flat) if bool((uniform > 0).any()) else flat

        def proven(scale: Tensor) -> Tensor:
            return holds(self.method, network, Box(x, shape * _spread(scale, x), self.clip), prop)

        scaled = shape * _spread(largest(proven, uniform, 1.25, self.search), x)
        better = _log_volume(scaled) > _log_volume(flat)
        return Region(torch.where(_spread(better, x), scaled, flat), uniform)

    @torch.enable_grad()
    def _ascend(self, network: Prepared, x: Tensor, prop: Property, start: Tensor) -> Tensor:
        size = x[0].numel()
        nominal = self._margins(network, prop, x, torch.zeros_like(x)).detach()
        scale = nominal.clamp(min=torch.finfo(x.dtype).eps)
        logs = start.clamp(min=torch.finfo(x.dtype).eps).log().requires_grad_()
        room = self._room(x)
        optimiser = torch.optim.Adam([logs], self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, self.steps))
        tight = (self._margins(network, prop, x, start).detach() / scale).argmin(0)
        multiplier = torch.zeros_like(scale).scatter_(0, tight[None], -float(size))
        penalty = float(size)
        for step in range(1, self.steps + 1):
            margins = self._margins(network, prop, x, logs.exp()) / scale
            violation = torch.minimum(margins, -multiplier / penalty)
            loss = (multiplier * violation + penalty / 2 * violation.square()).sum() - logs.sum()
            (logs.grad,) = torch.autograd.grad(loss, logs)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                logs.clamp_(max=room)
                if step % _UPDATE == 0:
                    multiplier = multiplier + penalty * violation.detach()
                if step % _GROWTH == 0:
                    penalty *= 2
        return logs.detach().exp()

    def _margins(self, network: Prepared, prop: Property, x: Tensor, radius: Tensor) -> Tensor:
        lower, upper = x - radius, x + radius
        if self.clip is not None:
            lower, upper = lower.clamp(min=self.clip[0]), upper.clamp(max=self.clip[1])
        margins = self.method(network, Box.between(lower, upper), prop.rows())
        return margins if prop.d is None else margins + prop.d

    def _room(self, x: Tensor) -> Tensor:
        """The logarithm of the radius beyond which nothing more of the valid range is gained."""
        if self.clip is None:
            return torch.full_like(x, math.log(1e6))
        return torch.maximum(x - self.clip[0], self.clip[1] - x).log()


def _spread(value: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, *x)."""
    return value.view(-1, *(1,) * (x.dim() - 1)).expand_as(x)


def _log_volume(radius: Tensor) -> Float[Tensor, " B"]:
    return radius.flatten(1).log().sum(1)
