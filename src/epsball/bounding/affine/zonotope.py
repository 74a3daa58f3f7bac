"""Zonotopes (DeepZ): affine forms in which every unstable unit has a noise symbol of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.bounding.affine.form import least
from epsball.bounding.affine.forward import walk
from epsball.bounding.base import bounders
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.ops.operator import Slope

if TYPE_CHECKING:
    from epsball.bounding.ibp import Intervals
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor


@bounders.register("zonotope")
@dataclass(frozen=True)
class Zonotope:
    """DeepZ, and its kin with other slopes.

    Attributes:
        slope: the line of an unstable ReLU's band. "same": the chord, of least area; the bound then equals that of same-slope CROWN
            and of the dual of Wong and Kolter. "adaptive", "zero", "one": the lower line of that name.
        meet: intersect each interval with the interval rule's before it chooses a band.
        most: bytes that the forms of one step may take, or None: how many symbols there will be is known on the way only.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    a forward pass for each input element and each unstable unit; memory B * (d + g) * the widest node.
    Raises:  TooLarge where `most` does not hold the forms.
    Paper:   Singh et al. 2018, Fast and Effective Robustness Certification, Thm 3.1.  Differs: the input may be any set, since the
        input's own elements are kept as variables and minimised over it at the end.
    """

    slope: Slope = "same"
    meet: bool = False
    most: int | None = None

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        found, forms = walk(network, input_set, self.slope, fresh=True, meet=self.meet, most=self.most)
        return least(pull_back(network, network.plan.output, rows, {}, Losses(network, found)), forms, input_set)

    def neurons(self, network: Prepared, input_set: InputSet) -> Intervals:
        """The interval of every slot."""
        return walk(network, input_set, self.slope, fresh=True, meet=self.meet, most=self.most)[0]
