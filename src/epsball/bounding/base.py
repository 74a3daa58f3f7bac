"""What a bound method is, and the output interval that every one of them gives."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.ops.prepared import Prepared
from epsball.problem.problem import Budget
from epsball.problem.property import Property
from epsball.problem.sets import InputSet
from epsball.registry import Registry
from epsball.types import Tensor


class Bounder(Protocol):
    """A sound, incomplete bound method: a frozen dataclass whose fields are its options."""

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds (P, Q) of linear forms over the network's output, over the whole set."""
        ...


bounders: Registry[type[Bounder]] = Registry("bound method", package="epsball.bounding", verb="bounders")


def least_margins(method: Bounder, network: Prepared, input_set: InputSet, prop: Property) -> Tensor:
    """The least proven value of `C y + d` of each sample (B,). Above 0 it is a proof, in the arithmetic that the network covers.

    Rounding has been given away inside the method, node by node; the comparison with 0 is exact. NaN never proves anything.
    """
    bounds = method(network, input_set, prop.rows())
    margins = bounds if prop.d is None else torch.nextafter(bounds + prop.d, torch.full_like(bounds, -torch.inf))
    return margins.amin(0)


@runtime_checkable
class Direct(Protocol):
    """A bound method that knows the interval of the output without linear forms."""

    def output(self, network: Prepared, input_set: InputSet) -> Interval | None:
        """The interval (B, K), or None where forms of the output may be bounded more tightly."""
        ...


def output_interval(method: Bounder, network: Prepared, input_set: InputSet, limit: int = Budget.bytes) -> Interval:
    """Elementwise bounds (B, K) of the output: the forms +y_k and -y_k, unless the method needs none.

    Args:
        method: any bound method.
        network: prepared.
        input_set: one set a sample.
        limit: bytes; the forms of so many outputs at a time take an eighth, for a method makes copies of them.
    """
    direct = method.output(network, input_set) if isinstance(method, Direct) else None
    if direct is not None:
        return direct
    x, count = input_set.centre, network.plan.graph.output_shape[0]
    step = max(1, limit // max(1, 16 * len(x) * count * x.element_size()))
    parts = [_ends(method, network, input_set, part) for part in torch.split(torch.arange(count, device=x.device), step)]
    return Interval.ordered(*(torch.cat(ends, 1) for ends in zip(*parts, strict=True)))


def _ends(method: Bounder, network: Prepared, input_set: InputSet, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds (B, k) of some outputs."""
    x, count = input_set.centre, network.plan.graph.output_shape[0]
    unit = torch.zeros(2, len(outputs), len(x), count, dtype=x.dtype, device=x.device)
    each = torch.arange(len(outputs), device=x.device)
    unit[0, each, :, outputs], unit[1, each, :, outputs] = 1.0, -1.0
    bounds = method(network, input_set, Rows(unit.flatten(0, 1)))
    return bounds[: len(outputs)].T, -bounds[len(outputs) :].T
