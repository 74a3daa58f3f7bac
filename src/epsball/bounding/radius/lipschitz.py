"""Lipschitz constants, global by norm products and local over a set, and the certified radius they give, for l2 and linf."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.bounding.ibp import intervals
from epsball.bounding.linear.crown import CrownIbp
from epsball.bounding.linear.losses import Losses
from epsball.bounding.linear.walk import pull_back
from epsball.errors import BadConfig, UnsupportedOp
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat, node_sum
from epsball.ops.affine.conv import Conv
from epsball.ops.affine.linear import Linear
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine, Nonlinear, Operator
from epsball.problem.sets import Box, LpBall, Norm
from epsball.rounding import SLACK, Rounding, gamma, unit
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.ops.prepared import Layer, Prepared
    from epsball.problem.sets import InputSet

_SQUARINGS = 8  # the bound is then within a factor rank ** (1 / 2 ** 9) of the norm: 1 % at rank 256


def spectral_bound(matrices: Float[Tensor, "F m n"]) -> Float[Tensor, " F"]:
    """Upper bounds of spectral norms that hold after any number of steps (Delattre et al. 2023).

    Power iteration approaches the norm from below, so a run that stopped early proves nothing. Squaring the Gram matrix instead,
    `norm(G ** (2 ** k))_F ** (1 / 2 ** (k + 1)) >= sigma` at every k, since the Frobenius norm is at least the spectral one; each
    step is scaled by its own norm, kept as a logarithm.
    """
    flipped = matrices.mH if matrices.shape[-1] > matrices.shape[-2] else matrices
    gram = flipped.mH @ flipped
    log = torch.zeros(gram.shape[:-2], dtype=torch.float64, device=gram.device)
    power = 2.0
    for _ in range(_SQUARINGS):
        size = torch.linalg.matrix_norm(gram).clamp(min=torch.finfo(torch.float64).tiny)
        log = log + size.double().log() / power
        gram = gram / size[..., None, None].to(gram.dtype)
        gram = gram @ gram
        power *= 2
    size = torch.linalg.matrix_norm(gram).double().clamp(min=torch.finfo(torch.float64).tiny)
    return torch.exp(log + size.log() / power) * (1 + 1e-5)  # the float32 products above


def operator_norm(op: Affine, shapes: tuple[tuple[int, ...], ...], norm: Norm, like: Tensor) -> float:
    """An upper bound of an affine operator's norm; with several arguments, of the sum over them.

    linf: the largest row sum of |A|, exact, by the interval rule. l2: `sqrt(largest row sum * largest column sum)`, or for linear
    layers and convolutions the spectral bound where it is smaller. A convolution with zero padding and stride is part of a stride-1
    convolution on a torus that holds map and kernel side by side, whose singular values are those of one small matrix a frequency.
    """
    with torch.enable_grad():
        ones = [torch.ones(1, *shape, dtype=like.dtype, device=like.device, requires_grad=True) for shape in shapes]
        rows = op.interval(*[Interval(-r, r) for r in ones]).width / 2
        columns = torch.autograd.grad(rows.sum(), ones, allow_unused=True)
    largest = float(rows.max())
    if norm == "linf":
        return largest
    schur = math.sqrt(largest * max(float(c.max()) for c in columns if c is not None) * len(shapes))
    if isinstance(op, Linear):
        return min(schur, float(spectral_bound(op.weight.detach()[None])[0]))
    if isinstance(op, Conv) and len(op.stride) == 2 and op.groups == 1:
        return min(schur, _conv_norm(op))
    return schur


def _conv_norm(op: Conv) -> float:
    reach = [d * (k - 1) for d, k in zip(op.dilation, op.weight.shape[2:], strict=True)]
    out, channels = op.weight.shape[:2]
    kernel = op.weight.new_zeros(out, channels, *(r + 1 for r in reach))
    kernel[:, :, :: op.dilation[0], :: op.dilation[1]] = op.weight.detach()
    size = [n + 2 * p + r for n, p, r in zip(op.shape[1:], op.padding, reach, strict=True)]
    transfer = torch.fft.rfft2(kernel, s=size).permute(2, 3, 0, 1).flatten(0, 1)
    return float(spectral_bound(transfer).max())


def slopes(op: Operator, pre: Interval, where: str) -> Interval:
    """The range of an elementwise operator's derivative over a box of arguments; (0, 1) for ReLU at its kink.

    Raises:
        UnsupportedOp: the operator's derivative is not known here.
    """
    found = op.slopes(pre) if isinstance(op, Nonlinear) else None
    if found is not None:
        return found
    raise UnsupportedOp(
        f"no Lipschitz constant for `{type(op).__name__}`",
        where=where,
        fix="use ReLU, sigmoid, tanh, erf, atan, or CROWN",
    )


def global_constant(network: Prepared, norm: Norm) -> dict[int, float]:
    """Lipschitz constants of every slot as functions of the input, in one norm on both sides: products of operator norms.

    Raises:
        UnsupportedOp: an operator without a constant.
        BadConfig: a norm other than linf and l2.
    """
    if norm not in ("linf", "l2"):
        raise BadConfig(f"no operator norms for {norm!r}", fix="use linf or l2")
    shapes = {step.slot: step.node.shape for step in network.steps} | {0: network.plan.graph.input_shape}
    like = torch.empty(0, dtype=network.dtype, device=network.device)
    line = torch.full((1, 1), math.inf, dtype=torch.float64)

    def constant(step: Layer, args: list[float]) -> float:
        if isinstance(step.op, Affine):
            return max(args) * operator_norm(step.op, tuple(shapes[slot] for slot in step.args), norm, like)
        return max(args) * float(slopes(step.op, Interval(-line, line), str(step.node.where)).upper)

    return network.walk(constant, {0: 1.0}, network.steps)


def local_gradient(network: Prepared, input_set: InputSet, rows: Rows) -> Float[Tensor, "P B *x"]:
    """For each form of the output, the largest absolute derivative in each input element over the set's hull.

    Jacobian intervals pulled back: centre through A transposed, radius through |A| transposed, times the derivative's range.

    Raises:
        UnsupportedOp: an operator without a derivative range.
    """
    return _derivatives(network, input_set, rows)[0]


def _derivatives(network: Prepared, input_set: InputSet, rows: Rows) -> tuple[Float[Tensor, "P B *x"], Float[Tensor, "P B"]]:
    """`local_gradient`, and what rounding may do to a form: each node's own error times the largest derivative in that node."""
    found = intervals(network, input_set.hull())
    losses, lost = Losses(network, found), rows.values.new_zeros(rows.values.shape[:2])
    pending: dict[int, tuple[Tensor, Tensor]] = {network.plan.output: (rows.values, torch.zeros_like(rows.values))}
    shapes = {step.slot: step.node.shape for step in network.steps} | {0: network.plan.graph.input_shape}
    for step in reversed(network.steps):
        if step.slot not in pending:
            continue
        centre, radius = pending.pop(step.slot)
        error = losses.passing(step) if isinstance(step.op, Affine) else _error(step.op, [found[slot] for slot in step.args])
        lost = lost if error is None else lost + node_sum((centre.abs() + radius) * error)
        for slot, part in zip(step.args, _pull_interval(step, found, centre, radius, shapes), strict=True):
            before = pending.get(slot)
            pending[slot] = part if before is None else _added(before, part, network.rounding)
    centre, radius = pending[0]
    return centre.abs() + radius, lost


def _error(op: Operator, pre: Sequence[Interval]) -> Tensor | None:
    """How far the value of a non-linear operator may be off."""
    if op.rounding is None or (isinstance(op, Elementwise) and op.exact):
        return None
    return op.rounding.elementwise * op.interval(*pre).magnitude


def _added(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], rounding: Rounding | None) -> tuple[Tensor, Tensor]:
    centre, radius = a[0] + b[0], a[1] + b[1]
    return centre, radius if rounding is None else radius + rounding.gamma(0, 4) * (centre.abs() + radius)


def _pull_interval(
    step: Layer, found: dict[int, Interval], centre: Tensor, radius: Tensor, shapes: dict[int, tuple[int, ...]]
) -> list[tuple[Tensor, Tensor]]:
    rows = centre.shape[:2]
    if not isinstance(step.op, Affine):
        low, high = slopes(step.op, found[step.args[0]], str(step.node.where))
        middle, half = (low + high) / 2, (high - low) / 2
        if step.op.rounding is not None:
            half = half + step.op.rounding.elementwise * (middle.abs() + half)
        return [(centre * middle, radius * middle.abs() + (centre.abs() + radius) * half)]
    op = step.op
    if op.rounding is not None:  # what the pull of the centre may be off by joins the radius
        radius = radius + op.rounding.gamma(0, op.sums.pull + SLACK) * (centre.abs() + radius)
    flat = radius.flatten(0, 1)
    # linear in positive radii; at 0 the ends of an interval meet, and a derivative of the smaller of the two is not defined
    ones = [flat.new_ones(len(flat), *shapes[slot]) for slot in step.args]

    def spread(*r: Tensor) -> Tensor:
        return op.interval(*[Interval(-x, x) for x in r]).width / 2

    magnitudes = torch.func.vjp(spread, *ones)[1](flat)
    pulled = op.pull(centre.flatten(0, 1))
    return [(p.view(*rows, *p.shape[1:]), m.view(*rows, *m.shape[1:])) for p, m in zip(pulled, magnitudes, strict=True)]


@dataclass(frozen=True)
class Lipschitz:
    """Lower bounds from the value at the centre and a Lipschitz constant times the distance: a mean-value bound.

    Attributes:
        scope: "global": one norm product for the whole input space. "local": the largest derivatives over the set.

    Shapes:  rows (P, B, K) over the output, shared layout; result (P, B).
    Sound:   yes (see docs/explanation/rounding); "global" constants hold in real numbers only.   Complete: no.
    Cost:    "global": once a network, then a forward pass. "local": two backward passes of the rows.
    Raises:  UnsupportedOp for operators other than affine ones, ReLU, leaky ReLU, sigmoid and tanh; BadConfig.
    Paper:   Szegedy et al. 2014, arXiv:1312.6199, Sec. 4.3; Delattre et al. 2023, arXiv:2305.16173.
    """

    scope: str = "local"

    def __post_init__(self) -> None:
        if self.scope not in ("global", "local"):
            raise BadConfig(f"unknown scope {self.scope!r}", fix="use global or local")

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds of linear forms of the output over the set."""
        nominal = nominal_bound(network, input_set.centre, rows)
        ball = input_set if isinstance(input_set, LpBall) else None
        lower, upper = input_set.hull()
        radius = torch.maximum(upper - input_set.centre, input_set.centre - lower)
        if self.scope == "global":
            if network.rounding is not None and network.rounding.module is not None:
                raise BadConfig(
                    "global constants say nothing about a network that rounds",
                    fix='bound real numbers: prepare(covers="real")',
                )
            if ball is not None and ball.norm == "l2":
                return nominal - constants(network, rows, "l2") * ball.eps
            return nominal - constants(network, rows, "linf") * radius.flatten(1).amax(1)
        steep, lost = _derivatives(network, input_set, rows)
        drop = (steep * radius).flatten(2).sum(2)
        if ball is not None and ball.norm == "l2":
            drop = torch.minimum(drop, torch.linalg.vector_norm(steep.flatten(2), dim=2) * ball.eps)
        if network.rounding is None:
            return nominal - drop
        share = network.rounding.gamma(0, 2 * (steep[0, 0].numel() + SLACK))
        return nominal - drop * (1 + share) - lost * (1 + share) - share * nominal.abs()


def nominal_bound(network: Prepared, x: Tensor, rows: Rows) -> Float[Tensor, "P B"]:
    """Forms of the output at given inputs: a lower bound of what any evaluation gives, by CROWN over a box without width."""
    if network.rounding is None:
        return rows.dot(network.forward(x))
    return CrownIbp()(network, Box.between(x, x), rows)


def constants(network: Prepared, rows: Rows, norm: Norm) -> Float[Tensor, "P B"]:
    """Global Lipschitz constants of forms of the output, in `norm` on the input."""
    found = global_constant(network, norm)
    total: Tensor | float = 0.0
    for slot, form in pull_back(network, network.plan.output, rows, {}).terms:
        flat = node_flat(form.dense().values, 2)
        size = flat.abs().sum(2) if norm == "linf" else torch.linalg.vector_norm(flat, dim=2)
        total = total + size * found[slot]
    return torch.as_tensor(total)


def certified_radius(
    network: Prepared, x: Tensor, rows: Rows, norm: Norm, offset: Float[Tensor, "P B"] | None = None
) -> Float[Tensor, " B"]:
    """The largest radius that global constants certify, of the network in real numbers; 0 for an unproven margin.

    It is the least of margin / constant over the rows. The offset is a property's d, which is added to each row.
    """
    margins = nominal_bound(network, x, rows)
    margins = margins if offset is None else torch.nextafter(margins + offset, torch.full_like(margins, -torch.inf))
    room = 1 + gamma(2 * (rows.values[0, 0].numel() + SLACK), unit(x.dtype))
    return (margins / (room * constants(network, rows, norm)).clamp(min=torch.finfo(x.dtype).tiny)).amin(0).clamp(min=0)
