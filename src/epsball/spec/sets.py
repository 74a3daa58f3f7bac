"""Input sets: what may go in. Each knows its bounding box, the exact minimum of a linear form, a projection and samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.interval import Interval
from epsball.rows import Rows
from epsball.types import Float, Tensor

Norm = Literal["linf", "l2"]
Clip = tuple[float, float] | None


@runtime_checkable
class InputSet(Protocol):
    """A set of inputs, one for each sample of a batch. All tensors are (B, *x)."""

    @property
    def centre(self) -> Tensor:
        """The nominal inputs."""
        ...

    @property
    def is_box(self) -> bool:
        """Whether the set equals its `hull`."""
        ...

    def hull(self) -> Interval:
        """The smallest box that holds the set."""
        ...

    def minimise(self, rows: Rows) -> Tensor:
        """The least value of each linear form over the set, exact up to rounding: (P, Q)."""
        ...

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the set, in Euclidean distance."""
        ...

    def sample(self, generator: torch.Generator) -> Tensor:
        """One random point of each sample's set."""
        ...

    def split(self, axis: int) -> tuple[InputSet, InputSet]:
        """The two halves along one flat input axis; their union is the set."""
        ...

    def take(self, index: Tensor) -> InputSet:
        """The sets of some samples, in the index's order."""
        ...

    def to(self, dtype: torch.dtype, device: torch.device) -> InputSet:
        """The set in another precision; boxes grow outwards if rounding must move them."""
        ...


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

    def __post_init__(self) -> None:
        _check_inputs(self.x, self.clip)
        radius = torch.as_tensor(self.radius, dtype=torch.float64, device=self.x.device)
        try:
            radius = radius.broadcast_to(self.x.shape)
        except RuntimeError as error:
            raise BadShape(
                f"a radius of shape {tuple(radius.shape)} does not fit inputs of shape {tuple(self.x.shape)}",
                fix="give one number, or one radius for each feature",
            ) from error
        if not bool((torch.isfinite(radius) & (radius >= 0)).all()):
            raise BadData("a radius is negative, NaN or infinite", fix="give radii of at least 0")
        lower = _round(self.x.double() - radius, self.x.dtype, -math.inf)
        upper = _round(self.x.double() + radius, self.x.dtype, math.inf)
        lower, upper = torch.where(radius == 0, self.x, lower), torch.where(radius == 0, self.x, upper)
        if self.clip is not None:
            lower, upper = lower.clamp(min=self.clip[0]), upper.clamp(max=self.clip[1])
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @classmethod
    def between(cls, lower: Tensor, upper: Tensor) -> Box:
        """The box with these ends, as they are.

        Raises:
            BadData: NaN, or a lower end above its upper end.
            BadShape: the two ends differ in shape.
        """
        if lower.shape != upper.shape:
            raise BadShape(
                f"a box with ends of shapes {tuple(lower.shape)} and {tuple(upper.shape)}",
                fix="give both ends the shape of the inputs",
            )
        if not bool((lower <= upper).all()):
            raise BadData("an empty, inverted or NaN box", fix="give lower <= upper everywhere")
        return cls._with_ends(torch.lerp(lower, upper, 0.5), lower, upper)

    @classmethod
    def _with_ends(cls, x: Tensor, lower: Tensor, upper: Tensor, clip: Clip = None) -> Box:
        box = object.__new__(cls)
        for name, value in (("x", x), ("clip", clip), ("lower", lower), ("upper", upper)):
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
        middle = torch.lerp(self.lower, self.upper, 0.5)
        chosen = torch.zeros(self.x[0].numel(), dtype=torch.bool, device=self.x.device)
        chosen[axis] = True
        chosen = chosen.view(self.x.shape[1:])
        return (
            Box.between(self.lower, torch.where(chosen, middle, self.upper)),
            Box.between(torch.where(chosen, middle, self.lower), self.upper),
        )

    def take(self, index: Tensor) -> Box:
        return Box._with_ends(self.x[index], self.lower[index], self.upper[index], self.clip)

    def to(self, dtype: torch.dtype, device: torch.device) -> Box:
        if dtype == self.x.dtype:
            return Box._with_ends(self.x.to(device), self.lower.to(device), self.upper.to(device), self.clip)
        lower, upper = _outward(self.lower, dtype, -math.inf), _outward(self.upper, dtype, math.inf)
        return Box._with_ends(self.x.to(device, dtype), lower.to(device), upper.to(device), self.clip)


@dataclass(frozen=True, eq=False)
class LpBall:
    """`||x' - x||_p <= eps`, cut to the valid range.

    Args:
        x: (B, *x).
        eps: radius, in the units of x.
        norm: "linf" or "l2".
        clip: the valid range (low, high), or None. Inputs outside it are an error.

    Raises:
        BadData: NaN, infinity, inputs outside the valid range.
        BadConfig: eps is negative or not finite, or the norm is unknown.
    """

    x: Tensor
    eps: float
    norm: Norm = "linf"
    clip: Clip = None
    box: Box = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise BadConfig(
                f"eps must be a finite number of at least 0, not {self.eps}",
                fix="give a radius in units of the inputs, such as 8/255",
            )
        if self.norm not in ("linf", "l2"):
            raise BadConfig(f"unknown norm {self.norm!r}", fix="use linf or l2")
        object.__setattr__(self, "box", Box(self.x, self.eps, self.clip))

    @property
    def centre(self) -> Tensor:
        return self.x

    @property
    def is_box(self) -> bool:
        return self.norm == "linf"

    def hull(self) -> Interval:
        return self.box.hull()

    def _room(self) -> tuple[Tensor, Tensor]:
        """How far each element may move down and up, in the valid range (flat, (B, d))."""
        if self.clip is None:
            free = torch.full_like(self.x, math.inf).flatten(1)
            return free, free
        return (self.x - self.clip[0]).flatten(1), (self.clip[1] - self.x).flatten(1)

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """Linf: `<a, c> - <|a|, r>` of the box. L2: `<a, x>` plus the least of `<a, d>` over the ball and the valid range.

        The latter is minus the dual at a multiplier found exactly; any multiplier gives a sound bound.
        """
        if self.norm == "linf":
            return self.box.minimise(rows)
        rows = rows.dense()
        a = rows.values.flatten(2)
        nominal = rows.dot(self.x)
        if self.clip is None:
            length: Tensor = torch.linalg.vector_norm(a, dim=2)
            return nominal - self._radius() * length
        down, up = (rows.at(t) for t in self._room())
        room = torch.where(a > 0, down, up)
        return nominal - _support(a.abs(), room, self._radius())

    def _radius(self) -> float:
        """Eps, a little larger where a float32 computation could round it inwards."""
        return self.eps * (1 + 4 * torch.finfo(self.x.dtype).eps)

    def project(self, x: Tensor) -> Tensor:
        """L2 in the valid range is not `project, then clamp`: the multiplier is found with the clamp in place."""
        if self.norm == "linf":
            return self.box.project(x)
        move = (x - self.x).flatten(1)
        down, up = self._room()
        room = torch.where(move < 0, down, up)
        size = move.abs()
        scale = _scale_to_norm(size, room, self.eps).clamp(max=1)
        moved = torch.copysign(torch.minimum(scale * size, room), move)
        length: Tensor = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
        moved = moved * (self.eps / length.clamp(min=torch.finfo(x.dtype).tiny)).clamp(max=1)
        projected = self.x + moved.view_as(x)
        return projected if self.clip is None else projected.clamp(*self.clip)

    def sample(self, generator: torch.Generator) -> Tensor:
        if self.norm == "linf":
            return self.box.sample(generator)
        noise = torch.randn(self.x.shape, generator=generator, dtype=self.x.dtype, device=self.x.device).flatten(1)
        share = torch.rand(len(noise), 1, generator=generator, dtype=self.x.dtype, device=self.x.device)
        length = self.eps * share ** (1 / noise.shape[1])
        return self.project(self.x + (noise / torch.linalg.vector_norm(noise, dim=1, keepdim=True) * length).view_as(self.x))

    def split(self, axis: int) -> tuple[InputSet, InputSet]:
        if self.norm != "linf":
            raise BadConfig("an l2 ball cannot be split along an axis", fix="split its hull, or use norm linf")
        return self.box.split(axis)

    def take(self, index: Tensor) -> LpBall:
        return LpBall._with_box(self.x[index], self.eps, self.norm, self.clip, self.box.take(index))

    def to(self, dtype: torch.dtype, device: torch.device) -> LpBall:
        return LpBall._with_box(self.x.to(device, dtype), self.eps, self.norm, self.clip, self.box.to(dtype, device))

    @classmethod
    def _with_box(cls, x: Tensor, eps: float, norm: Norm, clip: Clip, box: Box) -> LpBall:
        ball = object.__new__(cls)
        for name, value in (("x", x), ("eps", eps), ("norm", norm), ("clip", clip), ("box", box)):
            object.__setattr__(ball, name, value)
        return ball


def _check_inputs(x: Tensor, clip: Clip) -> None:
    if x.dim() < 2 or not x.is_floating_point():
        raise BadShape(
            f"inputs must be floating-point of shape (B, *x), not {x.dtype} {tuple(x.shape)}",
            fix="add the batch axis with x[None]",
        )
    if not bool(torch.isfinite(x).all()):
        raise BadData("an input holds NaN or infinity", fix="remove such inputs, or replace the values")
    if clip is not None:
        low, high = clip
        if not low < high:
            raise BadConfig(f"the valid range {clip} is empty", fix="give (low, high) with low < high")
        if not bool(((x >= low) & (x <= high)).all()):
            raise BadData(
                f"an input lies outside the valid range [{low}, {high}]: {float(x.min()):.4g} to {float(x.max()):.4g}",
                fix="scale the inputs, give their own range, or clip=None",
            )


def _round(exact: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """A float64 sum in another precision, rounded so that its own rounding error cannot matter."""
    beyond = torch.nextafter(exact, torch.full_like(exact, towards))
    return _outward(beyond, dtype, towards)


def _outward(values: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """The nearest value of a precision that is not inside."""
    near = values.to(dtype)
    step = torch.nextafter(near, torch.full_like(near, towards))
    back = near.to(torch.float64)
    inside = back > values.double() if towards < 0 else back < values.double()
    return torch.where(inside, step, near)


def _scale_to_norm(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The s >= 0 with `||min(s * size, room)||_2 = eps`, along the last axis; infinity where no s reaches eps.

    The norm grows with s, and each element stops growing at `s = room / size`. Sorted by that point, the sums over stopped and
    growing elements are cumulative, and s follows in closed form: O(d log d).
    """
    stop = torch.where(size > 0, room / size.clamp(min=torch.finfo(size.dtype).tiny), math.inf)
    order = stop.argsort(dim=-1)
    stop = stop.gather(-1, order)
    stopped = torch.where(size > 0, room, 0.0).gather(-1, order).square()
    stopped = torch.where(torch.isfinite(stopped), stopped, 0.0).cumsum(-1)
    growing = size.gather(-1, order).square()
    growing = growing.flip(-1).cumsum(-1).flip(-1)  # sum over elements not stopped before this one
    before = torch.cat((torch.zeros_like(stopped[..., :1]), stopped[..., :-1]), -1)
    scale = ((eps * eps - before).clamp(min=0) / growing.clamp(min=torch.finfo(size.dtype).tiny)).sqrt()
    fits = (scale <= stop) & (growing > 0) & (before <= eps * eps)
    first = fits.to(torch.int8).argmax(-1, keepdim=True)
    found = scale.gather(-1, first)
    return torch.where(fits.any(-1, keepdim=True), found, math.inf)


def _support(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The largest `<|a|, d>` with `0 <= d <= room`, `||d||_2 <= eps`, from above: the Lagrangian dual at its best multiplier.

    For any t > 0, `max <= sum_i max_{0<=d<=room} (|a| d - d^2 / (2 t)) + eps^2 / (2 t)`, attained at `d = min(t |a|, room)`.
    """
    with torch.no_grad():
        t = _scale_to_norm(size, room, eps)
    free = ~torch.isfinite(t)  # the valid range alone binds
    t = torch.where(free, 1.0, t).clamp(min=torch.finfo(size.dtype).tiny)
    d = torch.minimum(t * size, room)
    dual = (size * d).sum(-1) + (eps * eps - d.square().sum(-1)) / (2 * t.squeeze(-1))
    inside = (size * torch.where(torch.isfinite(room), room, 0.0)).sum(-1)
    return torch.where(free.squeeze(-1), inside, dual)
