"""A ReLU network over one set of inputs as quadratic constraints: what its semidefinite relaxation lifts.

The variables are `w = (t, s)`: the inputs `x = centre + radius * t` with `t` in [-1, 1], and one `s` in [0, 1] for each unstable
unit, `max(z, 0) = u * s`. A stable unit is linear in what comes before it, so it is no variable. With `k = u / (u - l)` and
`z / (u - l) = A w + b`, which reads earlier variables only, each unstable unit has five constraints:

    s >= 0,    k s - (A w + b) >= 0,    (A w + b) + 1 - k - s >= 0,    s (k s - (A w + b)) = 0,    s (1 - s) >= 0.

The first three are the triangle; the fourth says that the unit is a ReLU, the fifth bounds its square (Raghunathan et al. 2018,
arXiv:1811.01057, Sec. 4). The inputs have `1 - t ** 2 >= 0`. Everything is scaled to about 1, so that multipliers are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.errors import BadConfig, UnsupportedOp
from epsball.forms.rows import Rows, node_flat
from epsball.ops.operator import Nonlinear
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from epsball.bounding.ibp import Intervals
    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet

_UNIT = torch.finfo(torch.float64).eps / 2
LARGEST = 6000  # variables: a square matrix of them in float64 takes 0.3 GB, and a solver holds several


@dataclass(frozen=True, eq=False)
class Lifted:
    """One sample's network as constraints over `w = (t, s)`, in float64.

    Attributes:
        A: (U, N) see the module's text; N is `inputs + U`.
        b: (U,).
        k: (U,) in (0, 1).
        c: (R, N) the forms of the output.
        c0: (R,) their constants.
        lost: (U,) how far rounding may take `A w + b`.
        c_lost: (R,) and the forms of the output.
        inputs: how many inputs vary.
    """

    A: Float[Tensor, "U N"]
    b: Float[Tensor, " U"]
    k: Float[Tensor, " U"]
    c: Float[Tensor, "R N"]
    c0: Float[Tensor, " R"]
    lost: Float[Tensor, " U"]
    c_lost: Float[Tensor, " R"]
    inputs: int

    @property
    def units(self) -> int:
        """How many ReLUs are unstable."""
        return len(self.b)


def lift(network: Prepared, input_set: InputSet, found: Intervals, rows: Rows) -> Lifted:
    """The constraints of one sample, with the forms of the output over their variables.

    Args:
        network: affine operators, ReLU and leaky ReLU, in any arrangement.
        input_set: of one sample; its hull is what counts.
        found: the interval of every slot that a ReLU reads.
        rows: (R, 1, K) forms of the output, shared layout.

    Raises:
        UnsupportedOp: another non-linear operator.
        BadConfig: more variables than fit in memory.
    """
    lower, upper = (end.double().flatten() for end in input_set.hull())
    centre = (lower + upper) / 2
    radius = torch.maximum(upper - centre, centre - lower) * (1 + 4 * _UNIT)
    varies = radius > 0
    bent = {step.slot: _unstable(step, found) for step in network.nonlinear}
    inputs, units = int(varies.sum()), sum(int(mask.sum()) for mask in bent.values())
    if inputs + units > LARGEST:
        raise BadConfig(
            f"a semidefinite relaxation of {inputs} inputs and {units} unstable ReLUs has more than {LARGEST} variables",
            fix="use method crown, alpha-crown or lp, or a smaller set",
        )
    spread = torch.zeros(len(radius), inputs + units, dtype=torch.float64, device=radius.device)
    spread[varies, torch.arange(inputs, device=radius.device)] = radius[varies]
    walk = _Walk(network, Losses(network, found), {0: (spread, centre, _UNIT * centre.abs() + radius * 2 * _UNIT)})
    parts, at = [], inputs
    for step in network.nonlinear:
        at, part = walk.relu(step, found, bent[step.slot], at)
        parts.append(part)
    c, c0, c_lost = walk.over(network.plan.output, rows)
    none = spread.new_zeros(0)
    A, b, k, lost = (torch.cat([part[i] for part in parts] or [none]) for i in range(4))
    return Lifted(A.view(units, inputs + units), b, k, c, c0, lost, c_lost, inputs)


def _unstable(step: Layer, found: Intervals) -> Tensor:
    if not isinstance(step.op, Nonlinear) or step.op.leak is None:
        raise UnsupportedOp(
            f"no semidefinite relaxation of `{step.node.op}`", where=str(step.node.where), fix="use ReLU, or method crown"
        )
    return ~step.op.linear(found[step.args[0]])[0].flatten()


@dataclass(frozen=True, eq=False)
class _Walk:
    """What is known so far: each slot where a form stops as an affine function (matrix, offset) of the variables, up to a loss."""

    network: Prepared
    losses: Losses
    values: dict[int, tuple[Tensor, Tensor, Tensor]]

    def over(self, slot: int, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Forms over a slot as forms over the variables: (R, N) and (R,), and what they lose to rounding (R,)."""
        pulled = pull_back(self.network, slot, rows, {}, self.losses)
        none = rows.values.new_zeros(len(rows.values), 1)
        bias, lost = ((none if part is None else part)[:, 0].double() for part in (pulled.bias, pulled.lost))
        total, constant = torch.zeros((), dtype=torch.float64), bias + lost  # it goes both ways
        size, eps = constant.abs(), torch.finfo(self.network.dtype).eps
        lost = lost + 2 * eps * (bias.abs() + lost)
        for stop, form in pulled.terms:
            flat = node_flat(form.dense().values[:, 0], 1).double()
            matrix, offset, own = self.values[stop]
            total, constant, lost = total + flat @ matrix, constant + flat @ offset, lost + flat.abs() @ own
            size = size + flat.abs() @ (matrix.abs().sum(1) + offset.abs())
        return total, constant, lost + 2 * _UNIT * (max(self.network.sizes.values()) + len(pulled.terms) + 8) * size

    def relu(self, step: Layer, found: Intervals, bent: Tensor, at: int) -> tuple[int, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Enter one layer of ReLUs; the next free variable, and (A, b, k, lost) of its unstable units."""
        op, slot = step.op, step.args[0]
        low, high = (end[0].flatten().double() for end in found[slot])
        like = found[slot].lower
        leak = op.leak or 0.0 if isinstance(op, Nonlinear) else 0.0
        read = torch.ones_like(bent) if leak else bent | (low >= 0)
        which = read.nonzero()[:, 0]
        unit = torch.zeros(len(which), len(bent), dtype=like.dtype, device=like.device).scatter_(1, which[:, None], 1.0)
        z, offset, lost = self.over(slot, Rows(unit.view(-1, 1, *like.shape[1:])))
        share = torch.where(bent[which] | (low[which] < 0), leak, torch.ones_like(low[which]))
        matrix = z.new_zeros(len(bent), z.shape[1]).index_copy(0, which, z * share[:, None])
        value, own_loss = (part.new_zeros(len(bent)).index_copy(0, which, part * share) for part in (offset, lost))
        if leak and op.rounding is not None:
            own_loss = own_loss + op.rounding.elementwise * torch.maximum(-low, high)
        own_loss = own_loss + 2 * _UNIT * (bent * high)
        units = bent.nonzero()[:, 0]
        width, high = (high - low)[units], high[units]
        matrix[units, torch.arange(at, at + len(units), device=units.device)] += (1 - leak) * high
        self.values[step.slot] = (matrix, value, own_loss)
        own = bent[which]
        return at + len(units), (z[own] / width[:, None], offset[own] / width, high / width, lost[own] / width)
