"""Boxes: every feature in an interval of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from epsball.errors import BadData, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.problem.sets.base import Clip, check_inputs, halves, outward, round_inward, round_outward, two_sum, within
from epsball.types import Float, Tensor


@dataclass(frozen=True, eq=False)
class Box:
    """`x - radius <= x' <= x + radius`, elementwise, cut to the valid range.

    The ends are rounded outwards: in float32 `x - eps` rounds inwards for most pixels at 8/255, and a smaller set proves nothing.

    Args:
        x: (B, *x).
        radius: a number, or anything that broadcasts to x: one radius a feature.
        clip: the valid range (low, high), or None. Inputs outside it are an error.

    Raises:
        BadData: NaN, infinity, a negative radius, or inputs outside the valid range.
        BadShape: the radius does not broadcast to x.
    """

    x: Tensor
    radius: float | Tensor
    clip: Clip = None
    lower: Tensor = field(init=False)
    upper: Tensor = field(init=False)
    inside: Interval = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_inputs(self.x, self.clip)
        radius = torch.as_tensor(self.radius, dtype=torch.float64, device=self.x.device)
        try:
            radius = radius.broadcast_to(self.x.shape)
        except RuntimeError as error:
            raise BadShape(
                f"a radius of shape {tuple(radius.shape)} does not fit inputs of shape {tuple(self.x.shape)}",
                fix="give one number, one radius for each feature, or one a channel: eps[:, None, None]",
            ) from error
        if not bool((torch.isfinite(radius) & (radius >= 0)).all()):
            raise BadData("a radius is negative, NaN or infinite", fix="give radii of at least 0")
        lower = round_outward(self.x.double() - radius, self.x.dtype, -math.inf)
        upper = round_outward(self.x.double() + radius, self.x.dtype, math.inf)
        lower, upper = torch.where(radius == 0, self.x, lower), torch.where(radius == 0, self.x, upper)
        if self.clip is not None:
            lower, upper = lower.clamp(min=self.clip[0]), upper.clamp(max=self.clip[1])
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        object.__setattr__(self, "inside", self._rounded_in(radius))

    def _rounded_in(self, radius: Tensor) -> Interval:
        """The ends rounded inwards where they must be: what lies between them lies in the box in real numbers."""
        ends = []
        for sign, clip in ((-1.0, None if self.clip is None else self.clip[0]), (1.0, None if self.clip is None else self.clip[1])):
            beyond = sign * math.inf
            end, error = two_sum(self.x.double(), sign * radius)
            end = torch.where(sign * error < 0, torch.nextafter(end, torch.full_like(end, -beyond)), end)
            end = round_inward(end, self.x.dtype, beyond)
            if clip is not None:
                stop = round_inward(torch.full_like(end, clip, dtype=torch.float64), self.x.dtype, beyond)
                end = torch.maximum(end, stop) if sign < 0 else torch.minimum(end, stop)
            # a radius of less than a step of the precision leaves the centre alone
            ends.append(torch.where(radius == 0, self.x, torch.minimum(end, self.x) if sign < 0 else torch.maximum(end, self.x)))
        return Interval(ends[0], ends[1])

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor) -> Box:
        """The box with these ends, as they are.

        Raises:
            BadData: NaN, infinity, or a lower end above its upper end.
            BadShape: the two ends differ in shape, or are not floating-point of shape (B, *x).
        """
        if lower.shape != upper.shape:
            raise BadShape(
                f"a box with ends of shapes {tuple(lower.shape)} and {tuple(upper.shape)}",
                fix="give both ends the shape of the inputs",
            )
        if not bool((lower <= upper).all()):
            raise BadData("an empty, inverted or NaN box", fix="give lower <= upper everywhere")
        for end in (lower, upper):
            check_inputs(end, None)
        return cls.with_ends(torch.lerp(lower, upper, 0.5), Interval(lower, upper), Interval(lower, upper))

    @classmethod
    def with_ends(cls, x: Tensor, ends: Interval, inside: Interval, clip: Clip = None) -> Box:
        box = object.__new__(cls)
        lower, upper = ends
        for name, value in (("x", x), ("clip", clip), ("lower", lower), ("upper", upper), ("inside", inside)):
            object.__setattr__(box, name, value)
        object.__setattr__(box, "radius", torch.maximum(upper - x, x - lower))
        return box

    @property
    def centre(self) -> Tensor:
        return self.x

    @property
    def is_box(self) -> bool:
        return True

    def hull(self) -> Interval:
        return Interval(self.lower, self.upper)

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        return rows.minimum(*self.hull().centre_radius())

    def project(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.lower), self.upper)

    def sample(self, generator: torch.Generator) -> Tensor:
        share = torch.rand(self.x.shape, generator=generator, dtype=self.x.dtype, device=self.x.device)
        return self.project(torch.lerp(self.lower, self.upper, share))

    def split(self, axis: int) -> tuple[Box, Box]:
        low, high = halves(torch.lerp(self.lower, self.upper, 0.5), self.hull(), axis)
        return Box.between(*low), Box.between(*high)

    def inner(self) -> Box:
        x = torch.minimum(torch.maximum(self.x, self.inside.lower), self.inside.upper)
        return Box.with_ends(x, self.inside, self.inside, self.clip)

    def holds(self, x: Tensor) -> Tensor:
        return within(x, self.inside)

    def take(self, index: Tensor) -> Box:
        inside = Interval(self.inside.lower[index], self.inside.upper[index])
        return Box.with_ends(self.x[index], Interval(self.lower[index], self.upper[index]), inside, self.clip)

    def to(self, dtype: torch.dtype, device: torch.device) -> Box:
        ends, inside = self.hull(), self.inside
        if dtype != self.x.dtype:
            ends = Interval(outward(self.lower, dtype, -math.inf), outward(self.upper, dtype, math.inf))
            inside = Interval(round_inward(inside.lower, dtype, -math.inf), round_inward(inside.upper, dtype, math.inf))
        ends, inside = (Interval(box.lower.to(device), box.upper.to(device)) for box in (ends, inside))
        return Box.with_ends(self.x.to(device, dtype), ends, inside, self.clip)
