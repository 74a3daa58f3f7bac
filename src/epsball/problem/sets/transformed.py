"""Parametrised sets: every picture that a transform makes of the input, over a box of parameters."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_sum
from epsball.problem.sets.base import check_inputs, outward
from epsball.problem.sets.box import Box
from epsball.problem.sets.transforms import PictureLines, Transform
from epsball.rounding import gamma, unit

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor

_GRID = {1: 33, 2: 9, 3: 5}  # points along each parameter where the set is sampled


@dataclass(frozen=True, eq=False)
class Transformed:
    """All pictures `transform(x, p)` with `lower <= p <= upper`.

    Its bounds are sound over all parameters, and tighter in small cells: `cells` cuts the set into many, all to be verified.
    Samples and the nearest point are taken from a grid of parameters, the nominal one among them.

    Args:
        x: (B, C, H, W).
        transform: `Geometric()` or `Photometric()`.
        lower: the parameters' least values: (k,) or (B, k); anything that makes a tensor.
        upper: their greatest values.

    Raises:
        BadShape: x is no batch of pictures, or the parameters are not as many as the transform's.
        BadData: NaN, or a lower end above its upper end.
    """

    x: Tensor
    transform: Transform
    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        check_inputs(self.x, None)
        if self.x.dim() != 4:
            raise BadShape(f"a transform takes pictures (B, C, H, W), not {tuple(self.x.shape)}", fix="give the data's own shape")
        count = len(self.transform.names)
        for name in ("lower", "upper"):
            end = torch.as_tensor(getattr(self, name), dtype=torch.float64, device=self.x.device)
            if end.shape not in ((count,), (len(self.x), count)):
                raise BadShape(
                    f"parameters of shape {tuple(end.shape)} for {type(self.transform).__name__}",
                    fix=f"give one value for each of {', '.join(self.transform.names)}",
                )
            object.__setattr__(self, name, end.expand(len(self.x), count))
        if not bool((self.lower <= self.upper).all() & torch.isfinite(self.lower).all() & torch.isfinite(self.upper).all()):
            raise BadData("an empty, inverted, infinite or NaN box of parameters", fix="give finite lower <= upper")

    @classmethod
    def within(cls, x: Tensor, transform: Transform, **radii: float) -> Transformed:
        """Parameters by name, each from minus to plus its radius; the others stay 0: `within(x, Geometric(), angle=10.0)`.

        Raises:
            BadConfig: the transform has no such parameter, or a radius is negative or not finite.
        """
        for name, radius in radii.items():
            if name not in transform.names or not (math.isfinite(radius) and radius >= 0):
                raise BadConfig(
                    f"{name}={radius} is no radius here", fix=f"give radii of at least 0 for {', '.join(transform.names)}"
                )
        reach = torch.tensor([radii.get(name, 0.0) for name in transform.names], dtype=torch.float64)
        return cls(x, transform, -reach, reach)

    @property
    def centre(self) -> Tensor:
        """The nominal picture where the cell has it, else the picture of the cell that is least transformed."""
        return self._at(self._nominal())

    @property
    def is_box(self) -> bool:
        return False

    def _nominal(self) -> Float[Tensor, "B k"]:
        return torch.minimum(torch.maximum(torch.zeros_like(self.lower), self.lower), self.upper)

    def _at(self, p: Float[Tensor, "B k"]) -> Tensor:
        return self.transform.apply(self.x.double(), p).to(self.x.dtype)

    @functools.cached_property
    def _free(self) -> list[int]:
        """The parameters that vary."""
        return (self.upper > self.lower).any(0).nonzero()[:, 0].tolist()

    @functools.cached_property
    def _pictures(self) -> Float[Tensor, "G B *x"]:
        """The set on a grid of parameters, the nominal one first."""
        shares = torch.linspace(0, 1, _GRID[max(1, len(self._free))], dtype=torch.float64, device=self.x.device)
        found = [self.centre]
        for share in itertools.product(shares, repeat=len(self._free)):
            p = self.lower.clone()
            for k, value in zip(self._free, share, strict=True):
                p[:, k] = torch.lerp(self.lower[:, k], self.upper[:, k], float(value))
            found.append(self._at(p))
        return torch.stack(found)

    @functools.cached_property
    def _bounds(self) -> tuple[Interval, PictureLines]:
        return self.transform.bounds(self.x.double(), self.lower, self.upper)

    @functools.cached_property
    def _box(self) -> Box:
        low, high = self._bounds[0]
        return Box.between(outward(low, self.x.dtype, -math.inf), outward(high, self.x.dtype, math.inf))

    @functools.cached_property
    def _lines(self) -> PictureLines:
        """Linear bounds in the set's precision: the slopes are rounded, and what that changes over the cell goes to the offsets."""
        exact, dtype = self._bounds[1], self.x.dtype
        slope = exact.slope.to(dtype)
        reach = torch.maximum(self.lower.abs(), self.upper.abs()).view(*self.lower.shape, 1, 1, 1)
        lost = ((slope.double() - exact.slope).abs() * reach).sum(1)
        return PictureLines(slope, outward(exact.low - lost, dtype, -math.inf), outward(exact.high + lost, dtype, math.inf))

    def hull(self) -> Interval:
        """A box that holds the set: the smallest one for `Photometric`, nearly so for `Geometric`."""
        return self._box.hull()

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """A lower bound, by linear bounds of every pixel in the parameters, and by the hull: the better of the two.

        Exact for `Photometric` where no pixel leaves the valid range; elsewhere the gap shrinks with the cell.
        """
        rows = rows.dense()
        slope, low, high = (rows.at(part) for part in self._lines)
        kept = (rows.values.clamp(min=0) * low + rows.values.clamp(max=0) * high).flatten(2).sum(2)
        steep = torch.einsum("pqn,qkn->pqk", rows.values.flatten(2), slope.flatten(2))
        centre, radius = ((self.lower + self.upper) / 2).to(low.dtype), ((self.upper - self.lower) / 2).to(low.dtype)
        along = (steep * rows.at(centre) - steep.abs() * rows.at(radius)).sum(2)
        return torch.maximum(kept + along - self._lost(rows, centre.abs() + radius), self._box.minimise(rows))

    def _lost(self, rows: Rows, reach: Float[Tensor, "B k"]) -> Float[Tensor, "P Q"]:
        """What rounding may take from those sums, in proportion to the numbers in them."""
        slope, low, high = self._lines.slope.abs(), self._lines.low.abs(), self._lines.high.abs()
        size = torch.maximum(low, high) + (slope * reach.view(*reach.shape, 1, 1, 1)).sum(1)
        terms = size[0].numel() + 4 * (reach.shape[1] + 2)
        return gamma(2 * terms, unit(low.dtype)) * node_sum(rows.values.abs() * rows.at(size))

    def project(self, x: Tensor) -> Tensor:
        """The nearest picture of the grid."""
        distance = (self._pictures.double() - x.double()).flatten(2).square().sum(2)
        return self._pick(distance.argmin(0))

    def farthest(self, a: Tensor) -> Tensor:
        """The picture of the grid where `<a, .>` is largest: where attacks step."""
        return self._pick((self._pictures * a).flatten(2).sum(2).argmax(0))

    def _pick(self, which: Int[Tensor, " B"]) -> Tensor:
        return self._pictures[which, torch.arange(len(self.x), device=self.x.device)]

    def sample(self, generator: torch.Generator) -> Tensor:
        which = torch.randint(len(self._pictures), (len(self.x),), generator=generator, device=self.x.device)
        return self._pick(which)

    def split(self, axis: int) -> tuple[Transformed, Transformed]:
        """Halves by one parameter, those that vary counted around: any axis of the picture names one."""
        if not self._free:
            return self, self
        chosen = torch.zeros_like(self.lower, dtype=torch.bool)
        chosen[:, self._free[axis % len(self._free)]] = True
        middle = (self.lower + self.upper) / 2
        return (
            Transformed(self.x, self.transform, self.lower, torch.where(chosen, middle, self.upper)),
            Transformed(self.x, self.transform, torch.where(chosen, middle, self.lower), self.upper),
        )

    def cells(self, count: int) -> tuple[Transformed, Int[Tensor, " N"]]:
        """Equal cells, `count` along each parameter that varies, and the sample (of this set) that each belongs to.

        Together they are the set: it is verified when all its cells are.

        Raises:
            BadConfig: less than one cell.
        """
        if count < 1:
            raise BadConfig(f"{count} cells", fix="give 1 or more")
        places = list(itertools.product(range(count), repeat=len(self._free)))
        low, high = (end[:, None].repeat(1, len(places), 1) for end in (self.lower, self.upper))
        for number, k in enumerate(self._free):
            at = torch.tensor([place[number] for place in places], dtype=torch.float64, device=self.x.device)
            start, end = self.lower[:, k, None], self.upper[:, k, None]
            low[:, :, k] = torch.lerp(start, end, at / count)
            high[:, :, k] = torch.lerp(start, end, (at + 1) / count)
        owner = torch.arange(len(self.x), device=self.x.device).repeat_interleave(len(places))
        return Transformed(self.x[owner], self.transform, low.flatten(0, 1), high.flatten(0, 1)), owner

    def inner(self) -> Transformed:
        return self

    def holds(self, x: Tensor) -> Tensor:
        """Whether it is a picture of the grid, to the last bit."""
        return (self.project(x) == x).flatten(1).all(1)

    def take(self, index: Tensor) -> Transformed:
        taken = Transformed(self.x[index], self.transform, self.lower[index], self.upper[index])
        if "_pictures" in self.__dict__:  # what is known already is not computed again
            taken.__dict__.update(_pictures=self._pictures[:, index], _free=self._free)
        if "_bounds" in self.__dict__:
            (low, high), lines = self._bounds
            taken.__dict__["_bounds"] = Interval(low[index], high[index]), PictureLines(*(part[index] for part in lines))
        return taken

    def to(self, dtype: torch.dtype, device: torch.device) -> Transformed:
        """The nominal pictures are rounded; the parameters keep their precision."""
        if dtype == self.x.dtype and device == self.x.device:
            return self
        return Transformed(self.x.to(device, dtype), self.transform, self.lower.to(device), self.upper.to(device))
