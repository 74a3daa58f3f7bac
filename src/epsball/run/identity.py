"""SHA-256 of networks, for the identity of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.graph.constants import Ref
from epsball.record.hashes import hashed

if TYPE_CHECKING:
    from torch import nn

    from epsball.graph.graph import Graph, Node
    from epsball.ops.network import Network


def weights_of(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, as they are in memory."""
    return hashed(dict(module.state_dict()))


def network_of(network: Network) -> str:
    """SHA-256 of a network as it was loaded: its parameters and buffers, and the operations between them."""
    return hashed(dict(network.module.state_dict()), dict(network.params()), _operations(network.graph))


def _operations(graph: Graph) -> list[object]:
    """The graph without names and source lines, which say nothing of what it computes."""
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    return [[node.op, [number[name] for name in node.inputs], _own(node, number), node.shape, node.varies] for node in graph.nodes]


def _own(node: Node, number: dict[str, int]) -> dict[str, object]:
    """What an operation is given besides its arguments; nodes by their number, and no error message, which names source lines."""

    def plain(value: object) -> object:
        if isinstance(value, Ref):
            return ("node", number[value.name])
        return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value

    return {key: plain(value) for key, value in node.attrs.items() if key != "why"}
