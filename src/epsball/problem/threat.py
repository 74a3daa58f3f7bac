"""What may happen to an input: the perturbations that a network is trained against, attacked with and verified for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.interval import Interval
from epsball.problem.change import Change
from epsball.problem.columns import Column, Columns
from epsball.problem.sets.base import Clip, around, sets
from epsball.problem.sets.box import Box
from epsball.problem.sets.table import Tabular, rows_box

if TYPE_CHECKING:
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor

_NAMES = {"linf": "|x' - x|_inf", "l2": "|x' - x|_2", "l1": "|x' - x|_1", "l0": "|x' - x|_0"}


@dataclass(frozen=True)
class Threat:
    """A ball around each input, cut to a valid range; or, of a table, what each column may do.

    `Threat(8 / 255)` is a ball. `Threat(columns={"age": Change(2, "up"), "purpose": Change(to="any")}, table=data.columns)` says
    what may happen to two columns, and that all others stay.

    Attributes:
        eps: the radius, in the units of the inputs; or one a channel or feature (axis 1 of the inputs), in the norm "linf".
        norm: a key of `epsball.problem.sets.base.sets`, such as "linf" or "l2".
        clip: valid range of the inputs, or None.
        columns: what may happen to each column, by name, or by the number of its feature ("0", "1", ...) where there is no table;
            every other column stays as it is. Then there is no other radius, norm or range.
        table: what the features mean: which are one column, whole, categories.

    Raises:
        BadConfig: a radius that is negative or not finite or wider than the valid range, an unknown norm, a column that does not
            exist or cannot change so, or columns beside a radius.
    """

    eps: float | tuple[float, ...] = 0.0
    norm: str = "linf"
    clip: Clip = None
    columns: Mapping[str, Change] = field(default_factory=dict)
    table: Columns | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))
        if isinstance(self.eps, list):
            object.__setattr__(self, "eps", tuple(self.eps))
        sets[self.norm]
        for eps in self.radii:
            self._check(eps)
        if isinstance(self.eps, tuple) and self.norm != "linf":
            raise BadConfig(f"several radii in the norm {self.norm}", where="eps", fix='give one radius, or norm="linf"')
        if self.columns and (self.eps or self.norm != "linf" or self.clip is not None):
            raise BadConfig(
                "columns beside a radius, a norm or a range of all inputs",
                where="columns",
                fix="each column has an eps, a low and a high of its own: leave eps, norm and clip out",
            )
        if self.table is not None:
            for name, change in self.columns.items():
                change.checked(self.table.named(name))

    def _check(self, eps: float) -> None:
        if not (math.isfinite(eps) and eps >= 0):
            raise BadConfig(f"a radius must be a finite number of at least 0, not {eps}", where="eps", fix="give eps=0.1")
        if self.norm == "linf" and self.clip is not None and eps > self.clip[1] - self.clip[0]:
            raise BadConfig(
                f"eps {eps:g} is larger than the whole valid range {self.clip}",
                where="eps",
                fix="eps is in units of the inputs: 8/255, not 8",
            )

    def __hash__(self) -> int:
        return hash((self.eps, self.norm, self.clip, tuple(self.columns.items()), self.table))

    @property
    def radii(self) -> tuple[float, ...]:
        """Every radius."""
        return self.eps if isinstance(self.eps, tuple) else (self.eps,)

    @property
    def size(self) -> float:
        """The radius; of columns and of several radii 1: the whole of it."""
        return 1.0 if self.columns or isinstance(self.eps, tuple) else self.eps

    @property
    def kind(self) -> str:
        """What records call it: its norm, "columns", or "radii" where there are several: no radius alone says what they are."""
        return "columns" if self.columns else "radii" if isinstance(self.eps, tuple) else self.norm

    def is_ball(self, norm: str) -> bool:
        """Whether it is a ball of one radius in this norm."""
        return not self.columns and self.norm == norm and not isinstance(self.eps, tuple)

    def of(self, table: Columns | None) -> Threat:
        """The same, over these columns where it has no table of its own."""
        return self if self.table is not None or table is None or not self.columns else replace(self, table=table)

    def within(self, clip: Clip) -> Threat:
        """A ball cut to this valid range, where it has none of its own."""
        return self if self.columns or self.clip is not None else replace(self, clip=clip)

    def around(self, x: Tensor) -> InputSet:
        """The set around each input (B, *x).

        Raises:
            BadShape: inputs of another shape than the table, or of another number of channels than radii.
            BadData: an input outside a column's range, or one that is no row of the table.
            BadConfig: a column that does not exist.
        """
        if self.columns:
            return self._rows(x)
        if isinstance(self.eps, tuple):
            if x.dim() < 2 or len(self.eps) != x.shape[1]:
                raise BadShape(
                    f"{len(self.eps)} radii for inputs of shape {tuple(x.shape)}",
                    where="eps",
                    fix="give one radius, or one for each channel or feature",
                )
            return Box(x, torch.tensor(self.eps, dtype=torch.float64).view(-1, *(1,) * (x.dim() - 2)), self.clip)
        return around(self.norm, x, self.eps, self.clip)

    def scaled_box(self, x: Tensor, share: float | Tensor = 1.0) -> Interval:
        """A share of the way from each input to the ends of its set, for training: not rounded outwards."""
        hull = self.around(x).hull()
        return Interval(torch.lerp(x, hull.lower, share), torch.lerp(x, hull.upper, share))

    def _table(self, x: Tensor) -> Columns:
        table = self.table
        if table is None:
            table = Columns(tuple(Column(str(i)) for i in range(x.shape[-1])))
            for name, change in self.columns.items():
                if not name.isdecimal():
                    raise BadConfig(
                        f"no column {name!r}: the features have no names",
                        where=f"columns.{name}",
                        fix="give table=data.columns, or the features' numbers",
                    )
                change.checked(table.named(name))
        if x.dim() != 2 or x.shape[1] != table.width:
            raise BadShape(
                f"inputs of shape {tuple(x.shape)} for a table of {table.width} features", fix="give rows (B, F) of that table"
            )
        return table

    def _rows(self, x: Tensor) -> Tabular:
        table = self._table(x)
        down, up = torch.zeros(2, table.width, dtype=torch.float64, device=x.device)
        low, high = (torch.full_like(down, end) for end in (-math.inf, math.inf))
        free = torch.zeros(table.width, dtype=torch.bool, device=x.device)
        where = table.where()
        for name, change in self.columns.items():
            at, column = where[name], table.named(name)
            if column.kind == "category":
                free[at] = torch.tensor(
                    [change.to == "any" or v in (change.to or ()) for v in column.values], dtype=torch.bool, device=x.device
                )
                continue
            down[at], up[at] = change.reach()
            low[at], high[at] = change.low, change.high
        outside = ((x < low.to(x.dtype)) | (x > high.to(x.dtype))).any(0)  # an end that the inputs' precision rounds is theirs
        if bool(outside.any()):
            name = table.names[int(outside.nonzero()[0])]
            raise BadData(
                f"an input lies outside the range of {name!r}", where=f"columns.{name}", fix="mend the input, or its range"
            )
        whole = tuple(i for c in table if c.kind == "integer" for i in range(where[c.name].start, where[c.name].stop))
        groups = [range(where[c.name].start, where[c.name].stop) for c in table if c.kind == "category"]
        return Tabular(rows_box(x, Interval(-down, up), Interval(low, high), whole, groups, free), whole, groups)

    def __str__(self) -> str:
        """As a formula."""
        if self.columns:
            table = self.table or Columns(tuple(Column(name) for name in self.columns))
            return "; ".join([*(change.formula(table.named(name)) for name, change in self.columns.items()), "all else as it is"])
        cut = "" if self.clip is None else f", x' in [{self.clip[0]:g}, {self.clip[1]:g}]"
        if isinstance(self.eps, tuple):
            return f"|x'_c - x_c| <= ({', '.join(f'{eps:g}' for eps in self.eps)})_c{cut}"
        return f"{_NAMES.get(self.norm, _other(self.norm))} <= {self.eps:g}{cut}"


def _other(kind: str) -> str:
    return f"{kind}(x', x)"
