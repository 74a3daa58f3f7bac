"""The dual of the triangle relaxation (Wong and Kolter 2018): a bound at any feasible dual point, and its cheap estimate.

The dual variable of an unstable ReLU is free in [0, 1] (alpha in Theorem 1), and whatever it is, the dual's value is a lower bound.
Pulled back through the network, the dual variables are linear forms: the dual at alpha is CROWN with lower slopes alpha, the dual
network is CROWN's walk, and it is a network, so it has a gradient in the parameters and in alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.bounding.affine.form import band, linear_part
from epsball.bounding.base import bounders
from epsball.bounding.budget.cost import in_parts
from epsball.bounding.ibp import Intervals, concretise
from epsball.bounding.linear.alpha import AlphaCrown, bound_at, tape
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.device import generator as seeded
from epsball.errors import BadConfig, BadData
from epsball.forms.interval import Interval
from epsball.forms.rows import node_flat
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine, Nonlinear
from epsball.ops.shares import Choice
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.bounding.linear.known import Known
    from epsball.forms.rows import Rows
    from epsball.ops.prepared import Prepared
    from epsball.problem.sets import InputSet


def dual_bound(known: Known, rows: Rows, point: Mapping[int, Tensor]) -> Float[Tensor, "P Q"]:
    """The dual's value at a feasible point: a lower bound, differentiable in the point and in the parameters.

    Args:
        known: network, set, and the bounds of the hidden neurons: `Crown().known(network, input_set)`.
        rows: forms over the output.
        point: for each ReLU's slot, alpha in [0, 1] for its units, anything that broadcasts to (P, Q, *n); what it says about
            stable units is not read. A slot that is missing has alpha = u / (u - l), the choice of Wong and Kolter.

    Raises:
        BadData: a point outside [0, 1].
    """
    for slot, alpha in point.items():
        if not bool(((alpha >= 0) & (alpha <= 1)).all()):
            raise BadData("a dual point lies outside [0, 1]", where=f"slot {slot}", fix="clamp it: alpha.clamp(0, 1)")
    slot = known.network.plan.output
    choices = AlphaCrown(slope="same").choices(known, slot, rows)
    if not choices:
        return known.lower_bound(slot, rows)
    shape = rows.values.shape[:2]
    shares = []
    for s, choice in choices.items():
        if s in point and isinstance(choice, Choice):
            node = known.found[s].lower.shape[1:]
            shares.append(choice.take(point[s].expand(*shape, *node)))
        else:
            shares.append(choice.start.expand(*shape, -1))
    return bound_at(known, slot, rows, choices, torch.cat(shares, -1))


@bounders.register("dual")
@dataclass(frozen=True)
class WongKolter:
    """The dual at the point of Wong and Kolter, alpha = u / (u - l), with the hidden neurons bounded by the same dual.

    Attributes:
        chunk_bytes: memory for the rows of one chunk of neurons.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   yes, up to floating point (see docs/explanation/rounding).   Complete: no.
    Cost:    one backward pass for each hidden neuron that is not exactly bounded by intervals.
    Paper:   Wong and Kolter 2018, arXiv:1711.00851, Thm 1 and Alg. 1.  Differs: any set, any operator with lines.
    """

    chunk_bytes: int = 2**24

    @property
    def walk(self) -> AlphaCrown:
        """CROWN with these lines at every neuron."""
        return AlphaCrown(slope="same", intermediate="crown", chunk_bytes=self.chunk_bytes, steps=0)

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        known, limit = self.walk.known(network, input_set), self.walk.rows_limit
        return in_parts(rows, tape(network), limit, lambda part: dual_bound(known, part, {}))


@dataclass(frozen=True)
class ProjectedDual:
    """An ESTIMATE of the same bound by random Cauchy projections: for training, never for a certificate.

    Every neuron is an affine form of the inputs and of one symbol an unstable unit; its radius is the l1 norm of the coefficients,
    and the median of |coefficients . Cauchy vector| over k vectors estimates an l1 norm. So k columns go forward instead of one for
    each input and unit. Not in the registry of bound methods, which are sound.

    Attributes:
        projections: k.
        seed: of the Cauchy vectors.

    Shapes:  rows (P, Q, K) over the output; result (P, Q).
    Sound:   NO: an estimate. Its error falls with the square root of k.
    Cost:    k forward passes.
    Raises:  BadConfig for fewer than one projection.
    Paper:   Wong et al. 2018, arXiv:1805.12514, Sec. 3.2.  Differs: inputs and units share one projection.
    """

    projections: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.projections < 1:
            raise BadConfig("a projected dual needs at least one projection")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Estimated lower bounds of linear forms of the output over the set's hull."""
        generator = seeded(network.device, self.seed)
        centre, radius = input_set.hull().centre_radius()
        offsets, columns = {0: centre}, {0: self._cauchy(radius, generator)}
        found: Intervals = {0: input_set.hull()}
        for step in network.before_frontier:
            pre = [found[slot] for slot in step.args]
            if isinstance(step.op, Affine):
                offsets[step.slot] = step.op.value(*[offsets[slot] for slot in step.args])
                columns[step.slot] = linear_part(step.op, [columns[slot] for slot in step.args])
                spread = columns[step.slot].abs().median(1).values
                found[step.slot] = Interval(offsets[step.slot] - spread, offsets[step.slot] + spread)
            elif isinstance(step.op, Elementwise):
                line, middle, half = band(step.op, pre[0], "same")
                offsets[step.slot] = offsets[step.args[0]] * line + middle
                columns[step.slot] = columns[step.args[0]] * line[:, None] + self._cauchy(half, generator)
                found[step.slot] = step.op.interval(*pre)
            elif isinstance(step.op, Nonlinear):
                found[step.slot] = step.op.interval(*pre)
                offsets[step.slot], half = found[step.slot].centre_radius()
                columns[step.slot] = self._cauchy(half, generator)
        return self._last(network, rows, offsets, columns)

    def _last(self, network: Prepared, rows: Rows, offsets: dict[int, Tensor], columns: dict[int, Tensor]) -> Tensor:
        pulled = pull_back(network, network.plan.output, rows, {})
        points = {slot: Interval(offsets[slot], offsets[slot]) for slot, _ in pulled.terms}
        spread = sum(
            torch.einsum("pbn,bkn->pbk", node_flat(form.dense().values, 2), node_flat(columns[slot], 2))
            for slot, form in pulled.terms
        )
        return concretise(pulled, Losses(network, points)) - torch.as_tensor(spread).abs().median(2).values

    def _cauchy(self, scale: Float[Tensor, "B *n"], generator: torch.Generator) -> Float[Tensor, "B k *n"]:
        """Independent Cauchy numbers for each element, k of them, times its scale."""
        shape = (len(scale), self.projections, *scale.shape[1:])
        uniform = torch.rand(shape, generator=generator, dtype=scale.dtype, device=scale.device)
        return torch.tan(torch.pi * (uniform - 0.5)) * scale[:, None]
