"""Affine forms: the value of every node as a linear function of the input, plus noise and an interval around it.

    z = A x + c + G e + [-r, r],   x in the input set, every e in [-1, 1]

Affine operators act on A, c and G as on values, and on r as on the radius of an interval. A non-linear one becomes a band around a
line; the band's half width becomes a fresh noise symbol of its own unit (zonotopes) or joins r (forward linear bounds).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from epsball.bounding.affine.symbols import Numbering, Symbols, union
from epsball.bounding.ibp import unproven
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat
from epsball.ops.elementwise import Elementwise
from epsball.ops.operator import Affine
from epsball.rounding import SLACK, Rounding
from epsball.types import Float, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.bounding.linear.walk import Pulled
    from epsball.ops.operator import Operator, Slope
    from epsball.problem.sets import InputSet


@dataclass(frozen=True, eq=False)
class AffineForm:
    """The value of one node.

    Attributes:
        slopes: A, (B, d, *n) for d input elements.
        offset: c, (B, *n).
        noise: G, (B, g, *n): a column for each of its symbols, each in [-1, 1].
        radius: r, (B, *n). It is another unknown in every form, so it never cancels.
        symbols: which symbols of the network the columns of G are.
    """

    slopes: Tensor
    offset: Tensor
    noise: Tensor
    radius: Tensor
    symbols: Symbols

    @classmethod
    def of_input(cls, x: Tensor, numbering: Numbering) -> AffineForm:
        """The input itself."""
        size = x[0].numel()
        unit = torch.eye(size, dtype=x.dtype, device=x.device).view(1, size, *x.shape[1:]).expand(len(x), *(-1,) * x.dim())
        zero = torch.zeros_like(x)
        return cls(unit, zero, x.new_zeros(len(x), 0, *x.shape[1:]), zero, numbering.none())

    def terms(self, reach: Float[Tensor, "B d"]) -> Float[Tensor, "B *n"]:
        """What the terms of the form come to where the input elements are at most `reach`: rounding is in proportion to it."""
        sizes = self.slopes * reach.view(*reach.shape, *(1,) * (self.slopes.dim() - 2))
        return sizes.abs().sum(1) + self.offset.abs() + self.noise.abs().sum(1) + self.radius

    def widened(self, room: Tensor | float) -> AffineForm:
        """The same form around a wider interval."""
        return replace(self, radius=self.radius + room)

    @property
    def columns(self) -> int:
        """Input elements and symbols."""
        return self.slopes.shape[1] + self.noise.shape[1]

    def interval(self, input_set: InputSet) -> Interval:
        """The tightest interval of the form over the set."""
        shape = input_set.centre.shape[1:]
        rows = node_flat(self.slopes, 2).permute(2, 0, 1).reshape(-1, len(self.offset), *shape)
        ends = [input_set.minimise(Rows(sign * rows)).T.view_as(self.offset) for sign in (1, -1)]
        spread = self.noise.abs().sum(1) + self.radius
        return Interval.ordered(self.offset + ends[0] - spread, self.offset - ends[1] + spread)


def through(
    op: Operator, forms: Sequence[AffineForm], pre: Sequence[Interval], slope: Slope, reach: Float[Tensor, "B d"], *, fresh: bool
) -> AffineForm:
    """The form of an operator's result.

    Args:
        op: the operator; what its `rounding` may do joins the radius.
        forms: of its arguments.
        pre: intervals of its arguments.
        slope: names the line of a ReLU's band; "same" is the chord, the narrowest band.
        reach: the largest absolute value of each input element.
        fresh: whether the band becomes noise of its own.
    """
    if isinstance(op, Affine):
        return _affine(op, forms).widened(_affine_room(op, forms, reach))
    if isinstance(op, Elementwise):
        return _banded(op, forms[0], pre[0], slope, reach, fresh=fresh)
    centre, radius = op.interval(*pre).centre_radius()
    if op.rounding is not None:
        radius = radius + op.rounding.gamma(0, 4) * (centre.abs() + radius)
    shape, symbols = centre.shape[1:], forms[0].symbols.numbering.none()
    slopes, noise = (centre.new_zeros(len(centre), count, *shape) for count in (forms[0].slopes.shape[1], len(symbols)))
    return AffineForm(slopes, centre, noise, radius, symbols)


def _affine(op: Affine, forms: Sequence[AffineForm]) -> AffineForm:
    symbols = union([f.symbols for f in forms])
    around = op.interval(*[Interval(-f.radius, f.radius) for f in forms])
    return AffineForm(
        linear_part(op, [f.slopes for f in forms]),
        op.value(*[f.offset for f in forms]),
        linear_part(op, [f.symbols.lay(f.noise, symbols) for f in forms]),
        around.width / 2,
        symbols,
    )


def _affine_room(op: Affine, forms: Sequence[AffineForm], reach: Tensor) -> Tensor | float:
    """The module's sum and ours, over all columns; each column's passes `f(0)`, which is then taken off again."""
    if op.rounding is None or op.sums.value == 0:
        return 0.0
    share = op.rounding.gamma(op.sums.value + 1, op.sums.value + SLACK)
    room = share * op.size(*[form.terms(reach) for form in forms]) + op.sums.value * op.rounding.tiny
    if op.constant is None:
        return room
    times = reach.sum(1) + sum(form.noise.shape[1] for form in forms)
    return room + op.rounding.gamma(0, SLACK) * op.constant * times.view(-1, *(1,) * (room.dim() - 1))


def linear_part(op: Affine, columns: Sequence[Float[Tensor, "B k *n"]]) -> Float[Tensor, "B k *m"]:
    """`A v` for k columns of every sample."""
    base = op.value(*[c.new_zeros(1, *c.shape[2:]) for c in columns])
    batch, count = columns[0].shape[:2]
    if count == 0:
        return base.new_zeros(batch, 0, *base.shape[1:])
    return (op.value(*[c.flatten(0, 1) for c in columns]) - base).reshape(batch, count, *base.shape[1:])


def band(op: Elementwise, pre: Interval, slope: Slope) -> tuple[Tensor, Tensor, Tensor]:
    """Slope, middle and half width of `|f(z) - slope z - middle| <= half` on the interval, from the operator's two lines."""
    lines = op.outer(pre, slope)
    line = lines.lower_slope if slope != "same" else (lines.lower_slope + lines.upper_slope) / 2
    below, above = lines.lower_slope - line, lines.upper_slope - line
    low = torch.minimum(below * pre.lower, below * pre.upper)
    high = torch.maximum(above * pre.lower, above * pre.upper)
    low = low if lines.lower_bias is None else low + lines.lower_bias
    high = high if lines.upper_bias is None else high + lines.upper_bias
    return line, (low + high) / 2, ((high - low) / 2).clamp(min=0)


def _banded(op: Elementwise, form: AffineForm, pre: Interval, slope: Slope, reach: Tensor, *, fresh: bool) -> AffineForm:
    line, centre, half = band(op, pre, slope)
    scale = line[:, None]
    slopes, noise = form.slopes * scale, form.noise * scale
    offset, radius = form.offset * line + centre, form.radius * line.abs()
    if op.rounding is not None:  # of the products, and of the band
        ends = pre.magnitude * line.abs() + centre.abs() + half
        radius = radius + op.rounding.gamma(0, SLACK) * (form.terms(reach) * line.abs() + ends)
    if not fresh:
        return AffineForm(slopes, offset, noise, radius + half, form.symbols)
    own = _columns(half)
    symbols = form.symbols.numbering.fresh(own.shape[1])
    # the newest symbols have the greatest numbers, so their columns come last
    return AffineForm(slopes, offset, torch.cat((noise, own), 1), radius, form.symbols.union(symbols))


def _columns(half: Float[Tensor, "B *n"]) -> Float[Tensor, "B g *n"]:
    """One column for each unit with a band; g is the largest count in the batch."""
    flat = node_flat(half, 1)
    bent = flat.detach() > 0
    most = int(bent.sum(1).max()) if len(flat) else 0
    sample, unit = bent.nonzero(as_tuple=True)
    place = bent.cumsum(1)[sample, unit] - 1
    fresh = flat.new_zeros(len(flat), most, flat.shape[1])
    return fresh.index_put((sample, place, unit), flat[sample, unit]).view(len(flat), most, *half.shape[1:])


def summed(form: AffineForm, rounding: Rounding | None, reach: Tensor, terms: int) -> AffineForm:
    """The form with what its own sums may lose, and those of forms over it that have so many terms."""
    if rounding is None:
        return form
    return form.widened(2 * rounding.gamma(0, form.columns + terms + SLACK) * form.terms(reach))


def least(pulled: Pulled, forms: dict[int, AffineForm], input_set: InputSet) -> Float[Tensor, "P Q"]:
    """The least value over the set of shared rows that were pulled to nodes with forms."""
    symbols = union([forms[slot].symbols for slot, _ in pulled.terms])
    total, linear = pulled.bias, list[Tensor]()
    for slot, rows in pulled.terms:
        form, values = forms[slot], node_flat(rows.dense().values, 2)
        fixed = rows.dot(form.offset) - rows.like(rows.values.abs()).dot(form.radius)
        total = fixed if total is None else total + fixed
        parts = [
            torch.einsum("pbn,bkn->pbk", values, node_flat(k, 2)) for k in (form.slopes, form.symbols.lay(form.noise, symbols))
        ]
        linear = [old + part for old, part in zip(linear, parts, strict=True)] if linear else parts
    if total is None or not linear:
        raise ValueError("the output does not depend on the input")
    slopes, noise = linear
    over_input = Rows(slopes.reshape(*slopes.shape[:2], *input_set.centre.shape[1:]))
    return unproven(total + input_set.minimise(over_input) - noise.abs().sum(2))
