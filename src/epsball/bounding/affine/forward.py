"""Forward linear bounds: each neuron between two parallel linear functions of the input, in one forward walk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.bounding.affine.form import AffineForm, least, summed, through
from epsball.bounding.affine.symbols import Numbering, union
from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import TooLarge
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.forms.rows import node_flat
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Nonlinear, Slope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.bounding.ibp import Intervals
    from epsball.forms.interval import Interval
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor

COLUMN = 6  # copies of the columns while they pass one operator


def walk(
    network: Prepared, input_set: InputSet, slope: Slope, *, fresh: bool, meet: bool, most: int | None = None
) -> tuple[Intervals, dict[int, AffineForm]]:
    """The interval of every slot up to the frontier of the specification, and the affine forms there.

    Args:
        network: the prepared network.
        input_set: the inputs.
        slope: names the line of a ReLU's band.
        fresh: whether each band becomes noise of its own (a zonotope) or joins the radius.
        meet: whether each interval is the intersection with the interval rule's. What other operators than ReLUs read always is:
            they must not be left outside their domain.
        most: bytes of one step's forms, or None.

    Returns:
        All intervals, and the forms that a specification reads.

    Raises:
        TooLarge: a step's forms take more than `most`.
    """
    hull = input_set.hull()
    reach = hull.magnitude.flatten(1)
    found, forms = {0: hull}, {0: AffineForm.of_input(input_set.centre, Numbering())}
    read = {slot for step in network.nonlinear for slot in step.args}
    domain = {slot for step in network.nonlinear if isinstance(step.op, Nonlinear) and step.op.leak is None for slot in step.args}
    last = {slot: index for index, step in enumerate(network.before_frontier) for slot in step.args}
    for index, step in enumerate(network.before_frontier):
        pre = [found[slot] for slot in step.args]
        if most is not None:
            _fits(step, [forms[slot] for slot in step.args], pre, fresh=fresh, most=most)
        forms[step.slot] = through(step.op, [forms[slot] for slot in step.args], pre, slope, reach, fresh=fresh)
        found[step.slot] = step.op.interval(*pre)
        if step.slot in read and not isinstance(step.op, Nonlinear):
            own = summed(forms[step.slot], network.rounding, reach, 0).interval(input_set)
            found[step.slot] = own.intersect(found[step.slot]) if meet or step.slot in domain else own
        for slot in set(step.args):
            if last[slot] == index and slot not in network.frontier:
                del forms[slot]
    read_last = {slot: summed(forms[slot], network.rounding, reach, network.sizes[slot]) for slot in network.frontier}
    return found, read_last


def _fits(step: Layer, forms: Sequence[AffineForm], pre: Sequence[Interval], *, fresh: bool, most: int) -> None:
    """Raise before a step whose forms are too large.

    Raises:
        TooLarge: for the budget.
    """
    x = forms[0].offset
    count = forms[0].slopes.shape[1] + len(union([form.symbols for form in forms]))
    if fresh and isinstance(step.op, Elementwise):
        count += int(node_flat(~step.op.linear(*pre), 1).sum(1).amax())
    width = max(math.prod(step.node.shape), *(form.offset[0].numel() for form in forms))
    taken = COLUMN * count * width * len(x) * x.element_size()
    if taken > most:
        raise TooLarge("an affine form", taken, most)


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
        found, forms = walk(network, input_set, self.slope, fresh=False, meet=True)
        return least(pull_back(network, network.plan.output, rows, {}, Losses(network, found)), forms, input_set)
