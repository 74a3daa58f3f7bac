"""The values of a graph's nodes that do not vary: parameters, literals, and what is computed from them alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from epsball.graph.graph import Node
    from epsball.types import Params, Tensor


@dataclass(frozen=True)
class Ref:
    """A constant node inside the arguments of another one."""

    name: str


def fixed_values(nodes: tuple[Node, ...], params: Params) -> dict[str, Tensor]:
    """The value of every constant node that follows from these parameters, by name."""
    first = next((p for p in params.values() if p.is_floating_point()), torch.empty(0, dtype=torch.float32))
    return constant_values(nodes, params, first)


def constant_values(nodes: tuple[Node, ...], params: Params, like: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for node in nodes:
        if node.op == "param":
            values[node.name] = params[node.attrs["key"]]
        elif node.op == "literal":
            values[node.name] = torch.full((), node.attrs["value"], dtype=like.dtype, device=like.device)
        else:
            values[node.name] = filled(node, values.__getitem__)
    return values


def filled(node: Node, value: Callable[[str], Tensor]) -> Tensor:
    """A node's own function, called with the values of other nodes by their names."""
    target = cast("Callable[..., Tensor]", node.attrs["target"])
    args = [_fill(a, value) for a in node.attrs["args"]]
    kwargs = {k: _fill(a, value) for k, a in node.attrs["kwargs"].items()}
    return target(*args, **kwargs)


def _fill(argument: Any, value: Callable[[str], Tensor]) -> Any:
    if isinstance(argument, Ref):
        return value(argument.name)
    if isinstance(argument, (list, tuple)):
        return [_fill(a, value) for a in argument]
    return argument
