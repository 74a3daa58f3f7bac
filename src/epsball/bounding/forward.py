"""Forward linear bounds: each neuron between two parallel linear functions of the input, in one forward walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.bounding.affine_form import AffineForm, least, through
from epsball.bounding.backward import pull_back
from epsball.bounding.base import bounders
from epsball.bounding.relaxations.relu import LeakyRelu
from epsball.graph.operator import Nonlinear, Slope

if TYPE_CHECKING:
    from epsball.bounding.ibp import Intervals
    from epsball.graph.plan import Prepared
    from epsball.rows import Rows
    from epsball.spec.sets import InputSet
    from epsball.types import Tensor


def walk(
    network: Prepared, input_set: InputSet, slope: Slope, *, fresh: bool, meet: bool
) -> tuple[Intervals, dict[int, AffineForm]]:
    """The interval and the affine form of every slot up to the frontier of the specification.

    Args:
        network: the prepared network.
        input_set: the inputs.
        slope: names the line of a ReLU's band.
        fresh: whether each band becomes noise of its own (a zonotope) or joins the radius.
        meet: whether each interval is the intersection with the interval rule's. What other operators than ReLUs read always is:
            they must not be left outside their domain.
    """
    hull = input_set.hull()
    found, forms = {0: hull}, {0: AffineForm.of_input(input_set.centre)}
    read = {slot for step in network.nonlinear for slot in step.args}
    domain = {slot for step in network.nonlinear if not isinstance(step.op, LeakyRelu) for slot in step.args}
    for step in network.before_frontier:
        pre = [found[slot] for slot in step.args]
        forms[step.slot] = through(step.op, [forms[slot] for slot in step.args], pre, slope, fresh=fresh)
        found[step.slot] = step.op.interval(*pre)
        if step.slot in read and not isinstance(step.op, Nonlinear):
            own = forms[step.slot].interval(input_set)
            found[step.slot] = own.intersect(found[step.slot]) if meet or step.slot in domain else own
    return found, forms


def forward_intervals(network: Prepared, input_set: InputSet, slope: Slope = "same") -> Intervals:
    """The interval of every slot by forward linear bounds, never wider than by intervals alone."""
    return walk(network, input_set, slope, fresh=False, meet=True)[0]


@bounders.register("forward")
@dataclass(frozen=True)
class Forward:
    """Forward linear bounds: `A x + c - r <= z <= A x + c + r` at every neuron.

    Attributes:
        slope: the line of an unstable ReLU's band: "same" (the chord, the narrowest), "adaptive", "zero" or "one".

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    a forward pass for each input element; memory B * d * the widest node. For networks with few inputs.
    Paper:   Xu et al. 2020, arXiv:2002.12920, Sec. 3.2.  Differs: both lines share their slope; intervals are met
        with IBP's.
    """

    slope: Slope = "same"

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        _, forms = walk(network, input_set, self.slope, fresh=False, meet=True)
        return least(pull_back(network, network.plan.output, rows, {}), forms, input_set)
