"""Weight initialisations, each with its difference gain: by how much an interval's mean width grows from layer to layer.

For an affine layer of fan-in n after a ReLU, `E width_i / E width_(i-1) = (n / 2) E|W|` (Shi et al. 2021, Definition 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch

from epsball.errors import BadConfig
from epsball.graph.constants import Ref
from epsball.ops.plan import Plan, Step
from epsball.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from epsball.ops.network import Network
    from epsball.types import Tensor


class Initialisation(Protocol):
    """A frozen dataclass that sets the weights of a network, from the global random state."""

    def __call__(self, net: Network) -> None:
        """Set the weights in place."""
        ...

    def gain(self, fan_in: int) -> float:
        """The difference gain in closed form; NaN where there is none."""
        ...


initialisations: Registry[type[Initialisation]] = Registry("initialisation", package="epsball.training.distributions")


def reset(module: nn.Module) -> None:
    """Draw the weights of every layer anew that knows how: torch's layers have a method for it that `nn.Module` has not."""
    for layer in module.modules():
        draw = getattr(layer, "reset_parameters", None)
        if callable(draw):
            draw()


@initialisations.register("default")
@dataclass(frozen=True)
class Default:
    """PyTorch's own: `U(-1/sqrt(n), 1/sqrt(n))` for linear layers and convolutions.

    Paper: the row "Xavier (uniform)" of Shi et al. 2021, Table 1: a gain of sqrt(n) / 4.
    """

    def __call__(self, net: Network) -> None:
        reset(net.module)

    def gain(self, fan_in: int) -> float:
        return math.sqrt(fan_in) / 4


@initialisations.register("keep")
@dataclass(frozen=True)
class Keep:
    """The weights as they are: to go on from a trained network."""

    def __call__(self, net: Network) -> None:
        """Nothing to do."""

    def gain(self, fan_in: int) -> float:
        return math.nan


@initialisations.register("ibp")
@dataclass(frozen=True)
class IbpInitialisation:
    """`N(0, 2 pi / n^2)` for the weight of every layer except the last: a difference gain of 1.

    A layer whose input is a ReLU of a sum of two values (a residual block) has its weights halved, since the sum doubled the
    width. Everything else is PyTorch's default.

    Raises: BadConfig where a layer's weight is computed from several parameters (weight norm).
    Paper:  Shi et al. 2021, arXiv:2103.17268, Sec. 3.2.1.
    """

    def __call__(self, net: Network) -> None:
        Default()(net)
        params = net.params()
        layers = [step for step in net.plan.steps if step.node.op in ("linear", "conv")]
        for step in layers[:-1]:
            key, fan_in = _weight(net.plan, step)
            scale = 0.5 if _follows_sum(net.plan, step) else 1.0
            with torch.no_grad():
                params[key].normal_(0.0, scale * self.deviation(fan_in))

    def deviation(self, fan_in: int) -> float:
        """Of a weight."""
        return math.sqrt(2 * math.pi) / fan_in

    def gain(self, fan_in: int) -> float:
        return 1.0


def initialise(name: str) -> Callable[[Network], None]:
    """The initialisation of that name.

    Raises:
        BadConfig: no such name.
    """
    return initialisations[name]()


def layer_weights(net: Network) -> list[tuple[Tensor, int]]:
    """The live weight parameter and the fan-in of every linear layer and convolution, in order.

    Raises:
        BadConfig: a weight is computed from several parameters (weight norm).
    """
    params = net.params()
    found = [_weight(net.plan, step) for step in net.plan.steps if step.node.op in ("linear", "conv")]
    return [(params[key], fan_in) for key, fan_in in found]


def _weight(plan: Plan, step: Step) -> tuple[str, int]:
    """The key and the fan-in of a layer's weight; a transposed parameter is followed to the parameter."""
    nodes = {node.name: node for node in plan.constants}
    node = nodes[cast("str", step.constants[1])]
    fan_in = math.prod(node.shape[1:])
    while node.op != "param":
        sources = [a for a in node.attrs.get("args", ()) if isinstance(a, Ref)]
        if len(sources) != 1 or math.prod(nodes[sources[0].name].shape) != math.prod(node.shape):
            raise BadConfig(
                "IBP initialisation needs a layer whose weight is one parameter",
                where=str(step.node.where),
                fix="remove the reparametrisation, or use initialisation = 'default'",
            )
        node = nodes[sources[0].name]
    return str(node.attrs["key"]), fan_in


def _follows_sum(plan: Plan, step: Step) -> bool:
    """Whether a layer reads a ReLU of a sum of two values that vary, up to a reshape."""
    by_slot = {s.slot: s for s in plan.steps}

    def before(reader: Step | None) -> Step | None:
        found = by_slot.get(reader.args[0]) if reader else None
        while found is not None and found.node.op == "reshape":
            found = by_slot.get(found.args[0])
        return found

    activation = before(step)
    if activation is None or activation.node.op not in ("relu", "leaky_relu"):
        return False
    source = before(activation)
    return source is not None and source.node.op in ("add", "sub") and len(source.args) == 2
