"""Polyhedral envelopes: linear functions below the margins over a set, and the distance to where they vanish.

Over a set, CROWN gives one linear function `u x + v` below each margin. Where all of them are positive the label is kept, and that
half-space reaches further than a yes or no for the set: the certified radius is the least distance to a hyperplane, as long as it
stays inside the set on which the functions hold (Liu, Salzmann and Suesstrunk, arXiv:1912.04792).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.walk import pull_back
from epsball.errors import BadConfig
from epsball.ops.prepared import Prepared
from epsball.problem.problem import check_input
from epsball.problem.property import Property
from epsball.problem.sets import Clip, LpBall, Norm
from epsball.rounding import SLACK, gamma, unit
from epsball.types import Float, Tensor


@dataclass(frozen=True, eq=False)
class Polyhedron:
    """Around each input a polyhedron on which the property holds, within the ball on which its faces were computed.

    Attributes:
        u: (R, B, *x) normals of the faces: `u x + v` is at most the row of the property, over the ball.
        v: (R, B).
        distance: (R, B) from the input to each face within the valid range; infinite where the face is not met, 0 where the input
            itself is not proven.
        radius: (B,) certified: the least distance, at most the ball's own radius.
    """

    u: Tensor
    v: Float[Tensor, "R B"]
    distance: Float[Tensor, "R B"]
    radius: Float[Tensor, " B"]


@dataclass(frozen=True)
class Envelope:
    """The certified radius from one pass of linear bounds, instead of one bound for each radius tried.

    Attributes:
        eps: radius of the ball on which the functions are computed; the result is at most this. In a larger ball they lie lower.
        method: CROWN, with any slopes and intermediate bounds.
        norm: "linf" or "l2".
        clip: the valid range of the inputs, or None.

    Shapes:  x (B, *x).
    Sound:   yes, up to floating point: a margin counts above the tolerance of its precision.   Complete: no.
    Cost:    one bound.
    Raises:  BadConfig, BadShape.
    Paper:   Liu, Salzmann and Suesstrunk, Training Provably Robust Models by Polyhedral Envelope Regularization, arXiv:1912.04792,
        Sec. 3.  Differs: the distance within the valid range is exact, by its dual, instead of iterated.
    """

    eps: float
    method: Crown = field(default_factory=Crown)
    norm: Norm = "linf"
    clip: Clip = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps > 0):
            raise BadConfig(f"an envelope needs a ball of a finite radius above 0, not {self.eps}", fix="give eps=0.1")
        if self.norm not in ("linf", "l2"):
            raise BadConfig(f"unknown norm {self.norm!r}", fix="use linf or l2")

    @torch.no_grad()
    def __call__(self, network: Prepared, x: Tensor, prop: Property) -> Polyhedron:
        """The envelope of each input."""
        check_input(x, network.plan.graph.input_shape)
        ball = LpBall(x, self.eps, self.norm, self.clip)
        known = self.method.known(network, ball)
        pulled = pull_back(network, network.plan.output, prop.rows(), known.relaxed, known.losses)
        u = torch.zeros_like(x).expand(len(prop.C), *x.shape)
        for _, form in pulled.terms:
            u = u + form.dense().values
        v = x.new_zeros(u.shape[:2]) if pulled.bias is None else pulled.bias
        v = v if prop.d is None else v + prop.d
        here = (u * x).flatten(2).sum(2) + v
        scale = torch.maximum(here.abs(), (u * x).flatten(2).abs().sum(2) + v.abs())
        share = gamma(2 * (x[0].numel() + SLACK), unit(x.dtype))  # of what is added up here; the walk gave its own away
        room = here - 2 * share * scale
        distance = torch.where(room > 0, self._distance(u.flatten(2), room.clamp(min=0), x.flatten(1)), 0.0) * (1 - share)
        return Polyhedron(u, v, distance, distance.amin(0).clamp(max=self.eps))

    def _distance(self, u: Float[Tensor, "R B n"], room: Float[Tensor, "R B"], x: Tensor) -> Float[Tensor, "R B"]:
        """The least norm of a step within the valid range that takes `room` off the function; infinite where none does."""
        steep = u.abs()
        if self.clip is None:
            return room / (steep.sum(2) if self.norm == "linf" else torch.linalg.vector_norm(u, dim=2))
        free = torch.where(u > 0, x - self.clip[0], self.clip[1] - x)
        pace = torch.ones_like(steep) if self.norm == "linf" else steep
        time = _time(steep, pace, free, room)
        if self.norm == "linf":
            return time
        step = torch.minimum(time.clamp(max=torch.finfo(u.dtype).max)[..., None] * steep, free)
        return torch.where(torch.isfinite(time), torch.linalg.vector_norm(step, dim=2), math.inf)


def _time(steep: Tensor, pace: Tensor, free: Tensor, room: Float[Tensor, "R B"]) -> Float[Tensor, "R B"]:
    """The t at which `sum steep * min(t * pace, free)` is `room`: in the cheapest step each input moves at its pace until it stops.

    The sum grows with t, and each input stops at `free / pace`. Sorted by that point, the sums over stopped and moving inputs are
    cumulative, and t follows in closed form.
    """
    tiny = torch.finfo(steep.dtype).tiny
    stop = torch.where(pace > 0, free / pace.clamp(min=tiny), 0.0)
    order = stop.argsort(dim=-1)
    stop = stop.gather(-1, order)
    stopped = (steep * free).gather(-1, order).cumsum(-1)
    rate = (steep * pace).gather(-1, order).flip(-1).cumsum(-1).flip(-1)  # of those that still move before each stop
    before = torch.cat((torch.zeros_like(stopped[..., :1]), stopped[..., :-1]), -1)
    time = (room[..., None] - before).clamp(min=0) / rate.clamp(min=tiny)
    fits = (time <= stop) & (rate > 0)
    found = time.gather(-1, fits.to(torch.int8).argmax(-1, keepdim=True)).squeeze(-1)
    return torch.where(fits.any(-1), found, math.inf)
