"""Products: independent parts of the features, each with a set of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadShape
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.problem.sets.base import InputSet

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor

Part = tuple["Tensor", InputSet]


@dataclass(frozen=True, eq=False)
class Product:
    """All inputs whose every part lies in the part's own set.

    Args:
        shape: *x, the shape of one input.
        parts: pairs of flat feature numbers (n,) and a set of as many features; together they name each feature once.

    Raises:
        BadShape: a part has other features than its set, or the sets have different numbers of samples.
        BadConfig: a feature that no part or more than one names.
    """

    shape: tuple[int, ...]
    parts: Sequence[Part]
    order: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = torch.Size(self.shape).numel()
        if not self.parts:
            raise BadConfig("a product without parts", fix="give at least one pair of features and a set")
        for index, part in self.parts:
            if index.dim() != 1 or len(index) != part.centre[0].numel() or len(part.centre) != len(self.parts[0][1].centre):
                raise BadShape(
                    f"{tuple(index.shape)} features for a set of inputs {tuple(part.centre.shape)}",
                    fix="give each part one flat feature number for each of its set's features, and all sets the same samples",
                )
        named = torch.cat([index for index, _ in self.parts])
        if len(named) != size or not torch.equal(named.sort().values, torch.arange(size, device=named.device)):
            raise BadConfig(
                f"the parts name {len(named)} features of {size}, or one twice",
                fix=f"name each of 0 to {size - 1} once",
            )
        object.__setattr__(self, "order", named.argsort())

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Values of the parts as one input."""
        flat = torch.cat([v.flatten(1) for v in values], 1)
        return flat[:, self.order.to(flat.device)].view(len(flat), *self.shape)

    def pick(self, x: Tensor, which: int) -> Tensor:
        """One part's values of an input."""
        index, part = self.parts[which]
        return x.flatten(1)[:, index.to(x.device)].view(len(x), *part.centre.shape[1:])

    def _each(self, act: Callable[[InputSet], InputSet]) -> Product:
        return Product(self.shape, [(index, act(part)) for index, part in self.parts])

    @property
    def centre(self) -> Tensor:
        return self.join([part.centre for _, part in self.parts])

    @property
    def is_box(self) -> bool:
        return all(part.is_box for _, part in self.parts)

    def hull(self) -> Interval:
        hulls = [part.hull() for _, part in self.parts]
        return Interval(self.join([h.lower for h in hulls]), self.join([h.upper for h in hulls]))

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """The sum of the parts' own least values."""
        rows = rows.dense()
        flat = rows.values.flatten(2)
        least = []
        for index, part in self.parts:
            own = flat.index_select(2, index.to(flat.device)).view(*flat.shape[:2], *part.centre.shape[1:])
            least.append(part.minimise(Rows(own, rows.sample)))
        return torch.stack(least).sum(0)

    def project(self, x: Tensor) -> Tensor:
        return self.join([part.project(self.pick(x, k)) for k, (_, part) in enumerate(self.parts)])

    def sample(self, generator: torch.Generator) -> Tensor:
        return self.join([part.sample(generator) for _, part in self.parts])

    def split(self, axis: int) -> tuple[Product, Product]:
        """The part that holds the axis is split."""
        which, place = self._owner(axis)
        halves = []
        for half in self.parts[which][1].split(place):
            parts = [(index, half if k == which else part) for k, (index, part) in enumerate(self.parts)]
            halves.append(Product(self.shape, parts))
        return halves[0], halves[1]

    def _owner(self, axis: int) -> tuple[int, int]:
        for which, (index, _) in enumerate(self.parts):
            found = (index == axis).nonzero()
            if len(found):
                return which, int(found[0, 0])
        raise BadConfig(f"no axis {axis}", fix=f"give 0 to {torch.Size(self.shape).numel() - 1}")

    def inner(self) -> Product:
        return self._each(lambda part: part.inner())

    def holds(self, x: Tensor) -> Tensor:
        return torch.stack([part.holds(self.pick(x, k)) for k, (_, part) in enumerate(self.parts)]).all(0)

    def take(self, index: Int[Tensor, " N"]) -> Product:
        return self._each(lambda part: part.take(index))

    def to(self, dtype: torch.dtype, device: torch.device) -> Product:
        return self._each(lambda part: part.to(dtype, device))
