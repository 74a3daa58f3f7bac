"""The intersection of methods: the only thing that dominates each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch

from epsball.bounding.base import Bounder, bounders
from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import Crown
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor


@bounders.register("intersection")
@dataclass(frozen=True)
class Intersection:
    """The largest of the lower bounds of several methods, row by row.

    With intermediate bounds of their own, methods are not ordered: IBP certifies what CROWN does not on networks trained with it.

    Attributes:
        methods: one or more methods.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, as each of the methods.   Complete: no.
    Cost:    the sum of the methods'.
    Raises:  BadConfig without a method.
    """

    methods: tuple[Bounder, ...] = (Ibp(), Crown())

    def __post_init__(self) -> None:
        if not self.methods:
            raise BadConfig("an intersection of no methods", fix="give at least one")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        return reduce(torch.maximum, [method(network, input_set, rows) for method in self.methods])
