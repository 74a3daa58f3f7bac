"""Products of two operands that both depend on the input: elementwise and of matrices (McCormick 1976).

With centres c and radii r, `x y = c_y x + c_x y - c_x c_y + (x - c_x)(y - c_y)`, and the last term is at most `r_x r_y`.
McCormick's planes have the slopes (d_y, d_x) with `d = c +- r`. The elementwise product takes the mix of the two lower ones whose
least value over the box is the greatest: that of the interval. The matrix product takes their mean: four matrix products. Where the
bound is optimised, each single product has a share of its own between the two planes, in each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, node_flat, node_sum
from epsball.graph.graph import Node, Shape
from epsball.ops.affine.scale_shift import ScaleShift
from epsball.ops.affine.weighted import Weighted
from epsball.ops.operator import Lossy, Nonlinear, Operator, Relaxed, Slope, Sums, operators, unsupported
from epsball.rounding import SLACK, Ends, outside
from epsball.types import Tensor

_ELEMENTS = 2**22  # of the products of two matrices that are held at once
_SHARES = 2**17  # single products of one matrix product; with more of them none is optimised


@dataclass(frozen=True, eq=False)
class ElementwiseProduct(Nonlinear):
    """`z = x y`, elementwise."""

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0] * xs[1]

    def interval(self, *pre: Interval) -> Interval:
        x, y = pre
        corners = torch.stack((x.lower * y.lower, x.lower * y.upper, x.upper * y.lower, x.upper * y.upper))
        low, high = corners.amin(0), corners.amax(0)
        if self.rounding is None:
            return Interval(low, high)
        return Interval(*outside(Ends(low, high, low.abs(), high.abs()), self.rounding.gamma(2, 4), 4 * self.rounding.tiny))

    def _loss(self, x: Interval, y: Interval) -> Tensor | None:
        """What a form loses for each unit: the module's product, the planes, and the sum of their biases."""
        if self.rounding is None:
            return None
        size = x.magnitude * y.magnitude
        return self.rounding.gamma(2, size[0].numel() + SLACK + self.rounding.running) * size + 8 * self.rounding.tiny

    def linear(self, *pre: Interval) -> Tensor:
        return (pre[0].lower == pre[0].upper) | (pre[1].lower == pre[1].upper)

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        x, y = pre
        return _lossy(BetweenPlanes(*_planes(x, y, *_best(x, y))), self._loss(x, y))

    def choice(self, rows: Rows, slope: Slope, *pre: Interval) -> ProductChoice:
        x, y = (Interval(rows.at(end.lower), rows.at(end.upper)) for end in pre)
        start = torch.cat([node_flat(rows.at(share), 1) for share in _best(*pre)], 1)
        return ProductChoice(x, y, start, self._loss(*pre))


Plane = tuple[Tensor, Tensor, Tensor]


def _lossy(lines: Relaxed, loss: Tensor | None) -> Relaxed:
    return lines if loss is None else Lossy(lines, loss)


def _best(x: Interval, y: Interval) -> tuple[Tensor, Tensor]:
    """The shares of the plane below and of the one above the product that are best over the box."""
    return _best_below(x, y), _best_below(Interval(-x.upper, -x.lower), y)  # -(x y) = (-x) y


def _planes(x: Interval, y: Interval, below: Tensor, above: Tensor) -> tuple[Plane, Plane]:
    """`a x + b y + c` below and above the product, at given shares."""
    high = _mixed(Interval(-x.upper, -x.lower), y, above)
    return _mixed(x, y, below), (high[0], -high[1], -high[2])


def _best_below(x: Interval, y: Interval) -> Tensor:
    """The share of the two lower planes whose mix has the greatest least value on the box."""
    with torch.no_grad():
        shares = [torch.full_like(x.lower, 0.5), torch.ones_like(x.lower), torch.zeros_like(x.lower)]
        for z in (x, y):  # where a slope is 0
            width = z.upper - z.lower
            shares.append((z.upper / torch.where(width > 0, width, 1.0)).clamp(0, 1))
        best = shares[0]
        least = _least(x, y, best)
        for share in shares[1:]:
            value = _least(x, y, share)
            better = value > least + 1e-6 * least.abs()
            best, least = torch.where(better, share, best), torch.where(better, value, least)
    return best


def _mixed(x: Interval, y: Interval, share: Tensor) -> Plane:
    """`share` of the plane through the lower ends, the rest of the one through the upper ends."""
    corners = torch.lerp(x.upper * y.upper, x.lower * y.lower, share)
    return torch.lerp(y.upper, y.lower, share), torch.lerp(x.upper, x.lower, share), -corners


def _least(x: Interval, y: Interval, share: Tensor) -> Tensor:
    a, b, c = _mixed(x, y, share)
    return torch.minimum(a * x.lower, a * x.upper) + torch.minimum(b * y.lower, b * y.upper) + c


@dataclass(frozen=True, eq=False)
class BetweenPlanes(Relaxed):
    """Two planes `a x + b y + c` around a product, each as (a, b, c)."""

    below: Plane
    above: Plane

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        below, above = (tuple(rows.at(part) for part in plane) for plane in (self.below, self.above))
        return _between(rows, (below[0], below[1], below[2]), (above[0], above[1], above[2]))


def _between(rows: Rows, below: Plane, above: Plane) -> tuple[tuple[Rows, ...], Tensor | None]:
    """Forms between planes that are given for each row."""
    negative = rows.values.clamp(max=0)
    positive = rows.values - negative
    x, y, bias = (positive * low + negative * high for low, high in zip(below, above, strict=True))
    return (rows.like(x), rows.like(y)), node_sum(bias)


@dataclass(frozen=True, eq=False)
class ProductChoice:
    """A share for the plane below each product and one for the plane above it; the boxes are those of each row."""

    x: Interval
    y: Interval
    start: Tensor
    loss: Tensor | None = None

    def detach(self) -> ProductChoice:
        x, y = (Interval(box.lower.detach(), box.upper.detach()) for box in (self.x, self.y))
        return ProductChoice(x, y, self.start.detach(), None if self.loss is None else self.loss.detach())

    def at(self, share: Tensor) -> Relaxed:
        return _lossy(ProductAt(self.x, self.y, share), self.loss)


@dataclass(frozen=True, eq=False)
class ProductAt(Relaxed):
    """The planes at given shares (P, Q, 2 n)."""

    x: Interval
    y: Interval
    share: Tensor

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        below, above = (part.view_as(rows.values) for part in self.share.chunk(2, -1))
        return _between(rows, *_planes(self.x, self.y, below, above))


@dataclass(frozen=True, eq=False)
class MatrixProduct(Nonlinear):
    """`Z = X Y` for stacks (..., i, k) and (..., k, j)."""

    def value(self, *xs: Tensor) -> Tensor:
        return xs[0] @ xs[1]

    def interval(self, *pre: Interval) -> Interval:
        """The four corners of each single product, summed: as many rows of X at a time as fit."""
        x, y = pre
        rows = x.lower.shape[-2]
        step = max(1, _ELEMENTS * rows // max(1, x.lower.numel() * y.lower.shape[-1]))
        parts = [self._corners(x, y, start, start + step) for start in range(0, rows, step)]
        low, high = (torch.cat([p[end] for p in parts], -2) for end in (0, 1))
        if self.rounding is None:
            return Interval(low, high)
        size, terms = x.magnitude @ y.magnitude, x.lower.shape[-1] + 1
        room = self.rounding.gamma(terms, terms + 4) * size + terms * self.rounding.tiny
        return Interval(low - room, high + room)

    def _loss(self, x: Interval, y: Interval) -> Tensor | None:
        """What a form loses for each unit: the module's sums, the rows pulled to both factors, and the sum of their biases."""
        if self.rounding is None:
            return None
        size, (i, k) = x.magnitude @ y.magnitude, x.lower.shape[-2:]
        elements = max(x.lower[0].numel(), y.lower[0].numel(), size[0].numel())
        own = elements + i + k + size.shape[-1] + SLACK + self.rounding.running
        return self.rounding.gamma(k + 1, own) * size + own * self.rounding.tiny

    @staticmethod
    def _corners(x: Interval, y: Interval, start: int, stop: int) -> tuple[Tensor, Tensor]:
        l, u = (end[..., start:stop, :, None] for end in x)
        low, high = (end[..., None, :, :] for end in y)
        first, second, third, fourth = l * low, l * high, u * low, u * high
        least = torch.minimum(torch.minimum(first, second), torch.minimum(third, fourth)).sum(-2)
        most = torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth)).sum(-2)
        return least, most

    def linear(self, *pre: Interval) -> Tensor:
        return self.settled(*pre)[0]

    def settled(self, *pre: Interval) -> tuple[Tensor, ...]:
        """An element of X needs no better bounds where it is a point, or all it is multiplied with is one."""
        x, y = (p.lower == p.upper for p in pre)
        return x | y.all(-1)[..., None, :], y | x.all(-2)[..., :, None]

    def relax(self, *pre: Interval, slope: Slope = "adaptive") -> Relaxed:
        (cx, rx), (cy, ry) = (p.centre_radius() for p in pre)
        return _lossy(AroundCentres(cx, cy, cx @ cy, rx @ ry), self._loss(*pre))

    def choice(self, rows: Rows, slope: Slope, *pre: Interval) -> MatrixChoice | None:
        x, y = pre
        count = x.lower[0].numel() * y.lower.shape[-1]
        if count > _SHARES:
            return None
        (cx, rx), (cy, ry) = x.centre_radius(), y.centre_radius()
        start = cx.new_full((rows.values.shape[1], count), 0.5)
        centres = AroundCentres(cx, cy, cx @ cy, rx @ ry)
        return MatrixChoice(centres, rows.at(rx), rows.at(ry), start, self._loss(*pre))

    def shares(self, sizes: Sequence[int], shape: Shape) -> int:
        count = sizes[0] * shape[-1]
        return sum(sizes) + (count if count <= _SHARES else 0)


@dataclass(frozen=True, eq=False)
class AroundCentres(Relaxed):
    """`X Y = X C_y + C_x Y - C_x C_y`, up to an error of at most `R_x R_y`."""

    centre_x: Tensor
    centre_y: Tensor
    product: Tensor
    error: Tensor

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        x = rows.values @ rows.at(self.centre_y).transpose(-1, -2)
        y = rows.at(self.centre_x).transpose(-1, -2) @ rows.values
        bias = -rows.dot(self.product) - rows.like(rows.values.abs()).dot(self.error)
        return (rows.like(x), rows.like(y)), bias


@dataclass(frozen=True, eq=False)
class MatrixChoice:
    """A share for each single product `x_ik y_kj` of each row; the radii are those of each row."""

    centres: AroundCentres
    radius_x: Tensor
    radius_y: Tensor
    start: Tensor
    loss: Tensor | None = None

    def detach(self) -> MatrixChoice:
        tensors = (getattr(self.centres, f.name).detach() for f in fields(AroundCentres))
        loss = None if self.loss is None else self.loss.detach()
        return MatrixChoice(AroundCentres(*tensors), self.radius_x.detach(), self.radius_y.detach(), self.start.detach(), loss)

    def at(self, share: Tensor) -> Relaxed:
        return _lossy(MatrixAt(self, share), self.loss)


@dataclass(frozen=True, eq=False)
class MatrixAt(Relaxed):
    """The planes of McCormick at given shares s: with `t = 1 - 2 s` they are those around the centres, turned by t.

    `a x y >= (a c_y + |a| t r_y) x + (a c_x + a t r_x) y + ...`: at the centres both are equal, at t = 1 and -1 they are the two
    planes that bound the product on the side of a's sign.
    """

    choice: MatrixChoice
    share: Tensor

    def pull(self, rows: Rows) -> tuple[tuple[Rows, ...], Tensor | None]:
        choice, a = self.choice, rows.values[..., :, None, :]
        (x, y), bias = choice.centres.pull(rows)
        *stack, i, j = rows.values.shape
        turn = (1 - 2 * self.share).view(*stack, i, -1, j)
        to_x = (a.abs() * turn * choice.radius_y[..., None, :, :]).sum(-1)
        to_y = (a * turn * choice.radius_x[..., :, :, None]).sum(-3)
        centred = x.like(to_x).dot(choice.centres.centre_x) + y.like(to_y).dot(choice.centres.centre_y)
        return (x.like(x.values + to_x), y.like(y.values + to_y)), -centred if bias is None else bias - centred


@dataclass(frozen=True, eq=False)
class ConstantProduct(Weighted):
    """`X W` or `W X` with a constant W that may be a stack."""

    weight: Tensor
    on_left: bool
    bias: Tensor | None = None
    spread: Tensor | None = None

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = weight @ x if self.on_left else x @ weight
        return y if bias is None else y + bias

    @property
    def sums(self) -> Sums:
        rows, columns = self.weight.shape[-2:]
        return Sums(columns, rows) if self.on_left else Sums(rows, columns)

    def _least(self, least: float) -> Tensor:
        return self.weight.new_full((), least)

    def pull(self, values: Tensor) -> tuple[Tensor, ...]:
        return (self.apply(values, self.weight.transpose(-1, -2), None),)


@operators.register("mul")
def make_mul(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:
    constant = next((c for c in constants if c is not None), None)
    return ElementwiseProduct() if constant is None else ScaleShift(constant, None)


@operators.register("matmul")
def make_matmul(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Operator:
    left, right = constants
    if left is not None and right is not None:
        raise unsupported(node, "both factors are constant")
    if left is not None or right is not None:
        weight = left if right is None else right
        return MatrixProduct() if weight is None else ConstantProduct(weight, left is not None)
    if len(shapes[0]) != len(shapes[1]):
        raise unsupported(node, "stacks of different ranks", "operands with as many axes")
    return MatrixProduct()
