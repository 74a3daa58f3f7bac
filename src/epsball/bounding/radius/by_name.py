"""Certified radii by name: bisection over any bound method, envelopes, and Lipschitz constants, behind one interface."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import torch

from epsball.bounding.base import bounders
from epsball.bounding.budget.within import Within
from epsball.bounding.linear.crown import Crown
from epsball.bounding.radius.envelope import Envelope
from epsball.bounding.radius.lipschitz import Lipschitz, certified_radius
from epsball.bounding.radius.region import Radius
from epsball.errors import BadConfig, did_you_mean
from epsball.problem.problem import Budget
from epsball.problem.sets import Clip, LpBall, Norm
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.ops.prepared import Prepared
    from epsball.problem.property import Property

OWN = ("envelope", "lipschitz", "lipschitz-local")


class Measure(Protocol):
    """A certified radius (B,) for each input of a batch."""

    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Float[Tensor, " B"]: ...


@dataclass(frozen=True)
class Search:
    """Where a radius is looked for.

    Attributes:
        high: no radius is larger.
        norm: "linf" or "l2".
        clip: the valid range of the inputs, or None.
        steps: halvings, of a bisection or of an envelope's ball (each in two steps).
        budget: its bytes count.

    Raises:
        BadConfig: another norm, no largest radius, or no steps.
    """

    high: float = 1.0
    norm: Norm = "linf"
    clip: Clip = None
    steps: int = 20
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise BadConfig(f"no certified radius for {self.norm!r}", where="--norm", fix="use linf or l2")
        if not 0 < self.high < math.inf:
            raise BadConfig(f"the largest radius tried is {self.high:g}", where="--high", fix="give a finite one above 0")
        if self.steps < 1:
            raise BadConfig(f"a search of {self.steps} steps", where="--steps", fix="give at least 1")


def widest(norm: str, clip: Clip, size: int) -> float:
    """A radius beyond which nothing is left to try: the width of the valid range, for l2 its diagonal over so many elements."""
    width = 1.0 if clip is None else clip[1] - clip[0]
    return width * math.sqrt(size) if norm == "l2" else width


@dataclass(frozen=True)
class EnvelopeRadius:
    """The best radius of envelopes on balls that shrink by the root of 2 until no smaller one can give more.

    An envelope certifies at most its ball's own radius, and in a larger ball its faces lie lower. So the largest ball comes first,
    and an input is done as soon as its radius is at least that of the next ball.

    Shapes:  x (B, *x); result (B,).
    Sound:   yes: each radius is that of one envelope.   Complete: no.
    Cost:    about 2 log2(high / radius) bounds.
    """

    search: Search

    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Float[Tensor, " B"]:
        """The radius of each input."""
        best, eps, search = x.new_zeros(len(x)), self.search.high, self.search
        left = torch.arange(len(x), device=x.device)
        for _ in range(2 * search.steps + 1):
            ball = LpBall(x[left], eps, search.norm, search.clip)
            method, size = Within(Crown(), search.budget).cut(network, ball, len(prop.C))
            envelope = Envelope(eps, cast("Crown", method), search.norm, search.clip)
            for part in torch.split(left, size):
                best[part] = torch.maximum(best[part], envelope(network, x[part], prop.take(part)).radius)
            eps /= math.sqrt(2)
            left = left[best[left] < eps]
            if not len(left):
                break
        return best


@dataclass(frozen=True)
class LipschitzRadius:
    """Margin over a global Lipschitz constant, in closed form; cut to the largest radius of the search.

    Shapes:  x (B, *x); result (B,).
    Sound:   yes, up to floating point: a margin counts above the tolerance of its precision.   Complete: no.
    Cost:    one norm an operator, once, and a forward pass.
    """

    search: Search

    @torch.no_grad()
    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Float[Tensor, " B"]:
        """The radius of each input."""
        return certified_radius(network, x, prop.rows(), self.search.norm, prop.d).clamp(max=self.search.high)


def methods() -> list[str]:
    """What `radius_by` knows: the registered bound methods, which are bisected, and those of `OWN`."""
    return [*bounders, *OWN]


def radius_by(name: str, search: Search) -> Measure:
    """The certified radius by a method of `methods()`.

    Raises:
        BadConfig: an unknown name; the message has the nearest ones.
    """
    if name == "envelope":
        return EnvelopeRadius(search)
    if name == "lipschitz":
        return LipschitzRadius(search)
    known = methods()
    if name not in known:
        fix = did_you_mean(name, known) or f"use {', '.join(known)}"
        raise BadConfig(f"no certified radius by {name!r}", where="--method", fix=fix)
    method = Lipschitz("local") if name == "lipschitz-local" else bounders[name]()
    return Radius(Within(method, search.budget), search.norm, search.clip, search.high, search.steps)
