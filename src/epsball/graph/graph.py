"""Node and Graph: a network as a frozen, topologically ordered list of named operations.

Shapes are per sample: the batch axis never appears in a node that varies with the input. A node that does not vary (a
parameter, a normalisation constant, a reparametrised weight) has its own full shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple[int, ...]
CONSTANT_OPS = frozenset({"param", "literal", "const"})
OPAQUE = "opaque"  # an operation that is run as it is: nothing is known of it but its value


@dataclass(frozen=True)
class Where:
    """Where in the user's own code an operation comes from."""

    module: str = ""
    source: str = ""

    def __str__(self) -> str:
        if self.module and self.source:
            return f"{self.module} ({self.source})"
        return self.module or self.source or "the network"


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: unique in its graph.
        op: the canonical operator name, a key of the operator registry (or one of `CONSTANT_OPS` or "input").
        inputs: names of the argument nodes, in the operator's own order.
        attrs: everything else the operator needs; axes count from 0 at the first per-sample axis.
        shape: per-sample shape if `varies`, else the full shape.
        varies: whether the value depends on the network's input.
        where: the user's line.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    shape: Shape = ()
    varies: bool = True
    where: Where = field(default_factory=Where)


@dataclass(frozen=True)
class Graph:
    """What a network is; parameters are passed in when it runs, never owned.

    Attributes:
        nodes: in topological order.
        input: name of the input node.
        output: name of the output node.
        dropped: module paths of stochastic layers (dropout) that evaluation mode removed.
    """

    nodes: tuple[Node, ...]
    input: str
    output: str
    dropped: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def input_shape(self) -> Shape:
        return self[self.input].shape

    @property
    def output_shape(self) -> Shape:
        return self[self.output].shape

    def operators(self) -> tuple[str, ...]:
        """Canonical operator names of the nodes that vary, in order."""
        return tuple(node.op for node in self.nodes if node.varies and node.op != "input")
