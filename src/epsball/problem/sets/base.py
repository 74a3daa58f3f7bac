"""What a set of inputs is, and what every set shares: checks of its inputs, and rounding outwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, get_args, runtime_checkable

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.registry import Registry
from epsball.types import Tensor

Norm = Literal["linf", "l2", "l1", "l0"]
NORMS: tuple[Norm, ...] = get_args(Norm)
Range = tuple[float, float]
Clip = Range | None


@runtime_checkable
class InputSet(Protocol):
    """A set of inputs, one for each sample of a batch. All tensors are (B, *x)."""

    @property
    def centre(self) -> Tensor:
        """The nominal inputs: points of the set."""
        ...

    @property
    def is_box(self) -> bool:
        """Whether the set equals its `hull`."""
        ...

    def hull(self) -> Interval:
        """The smallest box that holds the set, up to rounding outwards."""
        ...

    def minimise(self, rows: Rows) -> Tensor:
        """The least value of each linear form over the set, exact up to rounding and never above it: (P, Q).

        Its derivative in the rows is a point where the least value is attained: attacks step there.
        """
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

    def inner(self) -> InputSet:
        """The set rounded inwards: where a counterexample is looked for. A proof is about the set itself, rounded outwards."""
        ...

    def holds(self, x: Tensor) -> Tensor:
        """(B,) whether a point lies in the set as it was meant, before any rounding: exactly, in rationals where it must be."""
        ...

    def take(self, index: Tensor) -> InputSet:
        """The sets of some samples, in the index's order."""
        ...

    def to(self, dtype: torch.dtype, device: torch.device) -> InputSet:
        """The set in another precision; boxes grow outwards if rounding must move them."""
        ...


@runtime_checkable
class Divisible(InputSet, Protocol):
    """A set that is a union of cells in which bounds are tighter."""

    def cells(self, count: int) -> tuple[InputSet, Tensor]:
        """Cells, `count` along each parameter, and the sample (N,) that each belongs to."""
        ...


Maker = Callable[[Tensor, float, Clip], InputSet]
sets: Registry[Maker | type[InputSet]] = Registry("set", package="epsball.problem.sets")


def around(kind: str, x: Tensor, size: float, clip: Clip) -> InputSet:
    """A registered set around some inputs, of one size in the unit of its kind: see `epsball list sets`.

    Raises:
        BadConfig: no set has this name, or it takes more than a size.
        BadShape, BadData, BadConfig: what the set itself raises.
    """
    make = sets[kind]
    if isinstance(make, type):
        raise BadConfig(f"the set {kind!r} is made in Python, from more than a size", fix=f"see: epsball show set {kind}")
    return make(x, size, clip)


def check_inputs(x: Tensor, clip: Clip) -> None:
    """Raise unless these are inputs of a set.

    Raises:
        BadShape: not floating-point of shape (B, *x).
        BadData: NaN, infinity, or values outside the valid range.
        BadConfig: an empty valid range.
    """
    if isinstance(x, torch.Tensor) and x.dim() >= 2 and not x.is_floating_point():
        raise BadShape(
            f"inputs must be floating-point, not {x.dtype}", fix="give x.float(), and pixels from 0 to 255 as x.float() / 255"
        )
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


def needs_range(clip: Clip, what: str) -> Range:
    """The valid range, for a set that takes features to its ends.

    Raises:
        BadConfig: there is none.
    """
    if clip is None:
        raise BadConfig(f"{what} needs a valid range: without one its features may be anything", fix="give clip=(0.0, 1.0)")
    return clip


def halves(x: Tensor, hull: Interval, axis: int) -> tuple[Interval, Interval]:
    """Both halves of a box along one flat axis: cut at x where x lies strictly inside, else in the middle."""
    count = x[0].numel()
    if not 0 <= axis < count:
        raise BadConfig(f"no axis {axis}: an input has {count} features", fix=f"give 0 to {count - 1}")
    chosen = torch.zeros(count, dtype=torch.bool, device=x.device)
    chosen[axis] = True
    chosen = chosen.view(x.shape[1:])
    at = torch.where((x > hull.lower) & (x < hull.upper), x, hull.centre)
    return (
        Interval(hull.lower, torch.where(chosen, at, hull.upper)),
        Interval(torch.where(chosen, at, hull.lower), hull.upper),
    )


def within(x: Tensor, ends: Interval) -> Tensor:
    """(B,) whether every element lies between two ends; NaN does not. Comparisons of floating-point numbers are exact."""
    return ((x >= ends.lower) & (x <= ends.upper)).flatten(1).all(1)


def round_inward(end: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """The nearest value of a precision that is not beyond an end, which lies `towards` the outside: the reverse of `outward`."""
    return outward(end, dtype, -towards)


def round_outward(exact: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """A float64 sum in another precision, rounded so that its own rounding error cannot matter."""
    beyond = torch.nextafter(exact, torch.full_like(exact, towards))
    return outward(beyond, dtype, towards)


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum of two numbers and its error: `a + b` is both together, exactly (Knuth 1969, short of overflow)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def outward(values: Tensor, dtype: torch.dtype, towards: float) -> Tensor:
    """The nearest value of a precision that is not inside."""
    near = values.to(dtype)
    step = torch.nextafter(near, torch.full_like(near, towards))
    back = near.to(torch.float64)
    inside = back > values.double() if towards < 0 else back < values.double()
    return torch.where(inside, step, near)
