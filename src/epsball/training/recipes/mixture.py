"""Natural and robust loss in any fixed proportion."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, cast

from epsball.errors import BadConfig
from epsball.training.base import Batch, Loss, Progress, recipes
from epsball.training.recipes.crown_ibp import CrownIbpTraining
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.standard import Standard
from epsball.training.schedule import check_weight

if TYPE_CHECKING:
    from typing import Any

    from epsball.ops.network import Network

Robust = Literal["ibp", "crown-ibp", "pgd"]
_PARTS: dict[str, type[IbpTraining]] = {"ibp": IbpTraining, "crown-ibp": CrownIbpTraining, "pgd": Pgd}


@recipes.register("mixture")
@dataclass(frozen=True)
class Mixture(Pgd):
    """`(1 - weight) natural + weight robust`, the same proportion at every step at which eps is above 0.

    With weight 0 it is standard training to the last bit: dropout, batch norm and all.

    Attributes:
        weight: of the robust loss, in [0, 1].
        robust: "ibp", "crown-ibp" or "pgd": whose robust loss.

    Raises:  BadConfig as for the recipe whose loss it is; a weight outside [0, 1].
    """

    weight: float = 0.5
    robust: Robust = "ibp"
    warmup: float = 1.0
    ramp: float = 20.0
    kappa_start: float = field(default=0.0, init=False, repr=False)  # the weight says it
    kappa_end: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_weight(self.weight, "recipe.weight")
        if self.robust not in _PARTS:
            raise BadConfig(f"unknown robust loss {self.robust!r}", where="recipe.robust", fix=f"use {', '.join(_PARTS)}")
        super().__post_init__()
        self.part()

    def part(self) -> IbpTraining:
        """The recipe whose loss is computed: with the natural loss at weight `1 - weight`."""
        kind = _PARTS[self.robust]
        known = {f.name for f in fields(cast("Any", kind))}
        shared = {f.name: getattr(self, f.name) for f in fields(self) if f.name in known}
        return kind(**{**shared, "kappa_start": 1 - self.weight, "kappa_end": 1 - self.weight})

    def knobs(self, at: Progress) -> dict[str, float]:
        return self.part().knobs(at) if self.weight else {}

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        if self.weight == 0:
            return Standard(self.initialisation).loss(net, batch, at)
        return self.part().loss(net, batch, at)
