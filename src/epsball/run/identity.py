"""SHA-256 of networks, for the identity of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.record.hashes import hashed

if TYPE_CHECKING:
    from torch import nn

    from epsball.graph.graph import Graph
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
    return [[node.op, [number[name] for name in node.inputs], node.attrs, node.shape, node.varies] for node in graph.nodes]
