"""Rows of a table: numbers in intervals, whole numbers, and categories of which one value holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.problem.sets.base import outward, round_inward
from epsball.problem.sets.box import Box

if TYPE_CHECKING:
    from epsball.types import Bool, Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class Tabular:
    """Inputs of a box whose whole features are whole numbers, and of each of whose groups one feature is 1 and the others 0.

    What a group may become is read off the box: a feature whose upper end is 0 is never chosen.

    Args:
        box: around the inputs (B, *x); its ends are whole where features are, and 0 or 1 in groups.
        whole: flat features that are whole numbers.
        groups: flat features of each category, at least two; none of them twice, and none whole.

    Raises:
        BadConfig: a feature that is named twice, does not exist, or a group of less than two.
        BadData: an input whose whole features are not whole or beyond what its precision tells apart, or whose groups do not hold a
            single 1; ends that do not fit.
    """

    box: Box
    whole: tuple[int, ...] = ()
    groups: Sequence[Sequence[int]] = ()
    padded: Int[Tensor, "G S"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = self.box.x[0].numel()
        named = [*self.whole, *(i for group in self.groups for i in group)]
        if len(set(named)) < len(named) or not all(0 <= i < count for i in named) or any(len(g) < 2 for g in self.groups):
            raise BadConfig(
                f"whole features {self.whole} and groups {self.groups} of {count} features",
                fix=f"name each feature, from 0 to {count - 1}, at most once, and at least two a group",
            )
        widest = max((len(group) for group in self.groups), default=1)
        padded = [[*group, *(group[-1],) * (widest - len(group))] for group in self.groups]
        object.__setattr__(self, "padded", torch.tensor(padded, dtype=torch.long, device=self.box.x.device).view(-1, widest))
        for values, what in ((self.box.x, "an input"), (self.box.lower, "a lower end"), (self.box.upper, "an upper end")):
            self._check(values.flatten(1), what, single=values is self.box.x)

    def _check(self, flat: Tensor, what: str, *, single: bool) -> None:
        whole = flat[:, list(self.whole)].double()
        limit = 1 / torch.finfo(flat.dtype).eps
        if bool((whole != whole.round()).any()) or bool((whole.abs() > limit).any()):
            raise BadData(f"{what} has whole features that are not whole, or above {limit:g}", fix="round them, or use float64")
        ones = self._grouped(flat)
        if not bool(((ones == 0) | (ones == 1)).all()) or (single and not bool(self._single(flat).all())):
            raise BadData(f"{what} has a category whose features are not a single 1 and zeros", fix="encode it one-hot")

    def _grouped(self, flat: Tensor) -> Tensor:
        """The groups' features (N, G, S), shorter groups filled with their last."""
        return flat[:, self.padded]

    def _single(self, flat: Tensor) -> Bool[Tensor, "N G"]:
        """Whether a group holds a single 1."""
        totals = [flat[:, list(group)].sum(1) for group in self.groups]
        return torch.stack(totals, 1) == 1 if totals else flat.new_ones((len(flat), 0), dtype=torch.bool)

    @property
    def _numbers(self) -> Tensor:
        """(*x): 1 where a feature is of no group."""
        kept = torch.ones(self.box.x[0].numel(), dtype=self.box.x.dtype, device=self.box.x.device)
        kept[self.padded.flatten()] = 0
        return kept.view(self.box.x.shape[1:])

    @property
    def centre(self) -> Tensor:
        return self.box.x

    @property
    def is_box(self) -> bool:
        return not self.whole and not self.groups

    def hull(self) -> Interval:
        return self.box.hull()

    def minimise(self, rows: Rows) -> Float[Tensor, "P Q"]:
        """The box's own minimum over numbers, whose ends are whole where they must be, and the least value of each category."""
        rows = rows.dense()
        centre, radius = self.hull().centre_radius()
        numbers = self._numbers
        least = rows.minimum(centre * numbers, radius * numbers)
        if not self.groups:
            return least
        chosen = rows.values.flatten(2)[:, :, self.padded]
        allowed = rows.at(self._grouped(self.box.upper.flatten(1))) > 0
        return least + torch.where(allowed, chosen, torch.inf).min(3).values.sum(2)

    def project(self, x: Tensor) -> Tensor:
        """Each feature to the nearest value that it may take; each category to the allowed value whose feature is largest."""
        flat = self.box.project(x).flatten(1).clone()
        whole = list(self.whole)
        flat[:, whole] = flat[:, whole].round()
        return self._with_values(flat, self._grouped(x.flatten(1)))

    def _with_values(self, flat: Tensor, score: Float[Tensor, "B G S"]) -> Tensor:
        """An input whose categories take the allowed value of the highest score."""
        if self.groups:
            allowed = self._grouped(self.box.upper.flatten(1)) > 0
            best = torch.where(allowed, score, -torch.inf).argmax(2, keepdim=True)
            at = self.padded.expand(len(flat), *self.padded.shape).gather(2, best)[:, :, 0]
            flat[:, self.padded.flatten()] = 0
            flat.scatter_(1, at, 1.0)
        return flat.view(self.box.x.shape)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Whole numbers of the interval alike, and allowed values of a category alike."""
        x = self.box.x
        flat = self.box.sample(generator).flatten(1)
        share = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device).flatten(1)
        lower, upper = (end.flatten(1) for end in self.hull())
        whole = list(self.whole)
        steps = (lower + share * (upper - lower + 1)).floor()
        flat[:, whole] = torch.minimum(steps, upper)[:, whole]
        score = torch.rand(len(x), *self.padded.shape, generator=generator, dtype=x.dtype, device=x.device)
        return self._with_values(flat, score)

    def split(self, axis: int) -> tuple[Tabular, Tabular]:
        """Halves of an interval; of whole numbers, the lower and the upper ones; of a category, one value and all others.

        Where there is nothing to halve both are the set itself.
        """
        group = next((list(group) for group in self.groups if axis in group), None)
        if group is None and axis not in self.whole:
            left, right = self.box.split(axis)
            return self._in(left.hull()), self._in(right.hull())
        lower, upper = (end.flatten(1) for end in self.hull())
        low, high = (Interval(lower.clone(), upper.clone()) for _ in range(2))
        if group is None:
            middle = ((lower + upper) / 2).floor()[:, axis]
            low.upper[:, axis] = middle
            high.lower[:, axis] = torch.minimum(middle + 1, upper[:, axis])
        else:
            several = (upper[:, group].sum(1) > 1) & (upper[:, axis] > 0)
            alone = torch.zeros_like(upper[:, group])
            alone[:, group.index(axis)] = 1
            low.upper[:, group] = torch.where(several[:, None], alone, upper[:, group])
            low.lower[:, axis] = torch.where(several, 1.0, lower[:, axis])
            high.upper[:, axis] = torch.where(several, 0.0, upper[:, axis])
            last = high.upper[:, group] * (high.upper[:, group].sum(1, keepdim=True) == 1)
            high.lower[:, group] = torch.maximum(high.lower[:, group], last)
        return self._in(low), self._in(high)

    def _in(self, ends: Interval) -> Tabular:
        """The part between other ends, its centre moved into it."""
        within = self.box.inside
        ends = Interval(ends.lower.view(self.box.x.shape), ends.upper.view(self.box.x.shape))
        inside = Interval(torch.maximum(within.lower, ends.lower), torch.minimum(within.upper, ends.upper))
        part = replace(self, box=Box.with_ends(self.box.x, ends, inside, self.box.clip))
        return replace(part, box=Box.with_ends(part.project(self.box.x), ends, inside, self.box.clip))

    def inner(self) -> Tabular:
        return replace(self, box=self.box.inner())

    def holds(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        whole, ones = flat[:, list(self.whole)], self._grouped(flat)
        is_whole, is_one_hot = (whole == whole.round()).all(1), ((ones == 0) | (ones == 1)).flatten(1).all(1)
        return self.box.holds(x) & is_whole & is_one_hot & self._single(flat).all(1)

    def take(self, index: Tensor) -> Tabular:
        return replace(self, box=self.box.take(index))

    def to(self, dtype: torch.dtype, device: torch.device) -> Tabular:
        return replace(self, box=self.box.to(dtype, device))


def rows_box(
    x: Float[Tensor, "B F"],
    reach: Interval,
    valid: Interval,
    whole: Sequence[int],
    groups: Sequence[Sequence[int]],
    free: Bool[Tensor, " F"],
) -> Box:
    """The box around rows of a table that `Tabular` takes.

    Args:
        x: the rows.
        reach: (F,) float64: how far each number may fall, at most 0, and rise; infinite where it may go to the end of its range.
        valid: (F,) float64: the range of each number, which holds x.
        whole: features that are whole numbers.
        groups: features of each category.
        free: values that a category may become; it may always stay.

    Raises:
        BadData: as of `Box`.
    """
    down, up = -reach.lower, reach.upper
    exact, at = x.double(), list(whole)
    down, up = (torch.where(r.isinf(), span, r) for r, span in ((down, exact - valid.lower), (up, valid.upper - exact)))
    below, above = Box(x, down), Box(x, up)
    ends = [
        torch.maximum(below.lower, outward(valid.lower, x.dtype, -math.inf)),
        torch.minimum(above.upper, outward(valid.upper, x.dtype, math.inf)),
    ]
    inside = [
        torch.maximum(below.inside.lower, round_inward(valid.lower, x.dtype, -math.inf)),
        torch.minimum(above.inside.upper, round_inward(valid.upper, x.dtype, math.inf)),
    ]
    for low, high in (ends, inside):  # an end that rounding put beyond the row itself
        low.copy_(torch.minimum(low, x))
        high.copy_(torch.maximum(high, x))
    first = torch.maximum(exact - down.floor(), valid.lower.ceil())[:, at].to(x.dtype)
    last = torch.minimum(exact + up.floor(), valid.upper.floor())[:, at].to(x.dtype)
    for low, high in (ends, inside):
        low[:, at], high[:, at] = first, last
        for group in (list(group) for group in groups):
            may = (x[:, group] == 1) | free[group]
            high[:, group] = may.to(x.dtype)
            low[:, group] = (may & (may.sum(1, keepdim=True) == 1)).to(x.dtype)
    return Box.with_ends(x, Interval(*ends), Interval(*inside))
