"""Every registered relaxation as an operator."""

from __future__ import annotations

from epsball.bounding.relaxation import relaxations
from epsball.bounding.relaxations.relu import LeakyRelu
from epsball.graph.graph import Node, Shape
from epsball.graph.operator import Nonlinear, operators, unsupported
from epsball.types import Tensor


def _make(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    return relaxations[node.op](**node.attrs)


def _make_leaky(node: Node, constants: tuple[Tensor | None, ...], shapes: tuple[Shape, ...]) -> Nonlinear:
    slope = node.attrs["slope"]
    if not 0 <= slope <= 1:
        raise unsupported(node, f"negative_slope {slope} is outside [0, 1]", "leaky_relu with a slope in [0, 1]")
    return LeakyRelu(slope)


for _name in relaxations:
    operators.register(_name)(_make_leaky if _name == "leaky_relu" else _make)
