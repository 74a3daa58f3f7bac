"""What a bound method is, and the output interval that every one of them gives."""

from __future__ import annotations

from typing import Protocol

import torch

from epsball.graph.plan import Prepared
from epsball.interval import Interval
from epsball.registry import Registry
from epsball.rows import Rows
from epsball.spec.property import Property
from epsball.spec.sets import InputSet
from epsball.types import Tensor


class Bounder(Protocol):
    """A sound, incomplete bound method: a frozen dataclass whose fields are its options."""

    def __call__(self, network: Prepared, input_set: InputSet, rows: Rows) -> Tensor:
        """Lower bounds (P, Q) of linear forms over the network's output, over the whole set."""
        ...


_BUILT_IN = ("ibp", "crown", "alpha", "forward", "zonotope", "intersection", "dual")
bounders: Registry[type[Bounder]] = Registry(
    "bound method", modules=tuple(f"epsball.bounding.{name}" for name in _BUILT_IN), verb="bounders"
)


def least_margins(method: Bounder, network: Prepared, input_set: InputSet, prop: Property) -> Tensor:
    """The least proven value of `C y + d` of each sample (B,). Above 0 it is a proof, in the arithmetic that the network covers.

    Rounding has been given away inside the method, node by node; the comparison with 0 is exact. NaN never proves anything.
    """
    bounds = method(network, input_set, prop.rows())
    margins = bounds if prop.d is None else torch.nextafter(bounds + prop.d, torch.full_like(bounds, -torch.inf))
    return margins.amin(0)


def output_interval(method: Bounder, network: Prepared, input_set: InputSet) -> Interval:
    """Elementwise bounds (B, K) of the output: the forms +y_k and -y_k."""
    x = input_set.centre
    count = network.plan.graph.output_shape[0]
    unit = torch.eye(count, dtype=x.dtype, device=x.device)[:, None].expand(-1, len(x), -1)
    bounds = method(network, input_set, Rows(torch.cat((unit, -unit))))
    return Interval.ordered(bounds[:count].T, -bounds[count:].T)
