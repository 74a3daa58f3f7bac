"""Graph -> Plan: names resolved to slots and operators to their rules, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epsball.errors import UnsupportedOp
from epsball.graph.constants import fixed_values
from epsball.graph.graph import CONSTANT_OPS, OPAQUE, Graph, Node, Shape
from epsball.ops.opaque import Opaque
from epsball.ops.operator import Factory, operators

if TYPE_CHECKING:
    from epsball.types import Params, Tensor


@dataclass(frozen=True)
class Step:
    """One varying operation of a plan.

    Attributes:
        slot: where its value goes.
        node: what it is.
        args: slots of the arguments that vary.
        constants: names of the arguments that do not, in place (None where an argument varies).
        factory: binds the constants.
        fold: the node of a preceding linear or conv step that is folded into this batch norm.
    """

    slot: int
    node: Node
    args: tuple[int, ...]
    constants: tuple[str | None, ...]
    shapes: tuple[Shape, ...]
    factory: Factory
    fold: Step | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph with every look-up done.

    Attributes:
        steps: every varying operation, as the user wrote it.
        bound_steps: the same function for bounding: each batch norm that directly follows a linear or convolution
            nobody else reads is folded into it.
    """

    graph: Graph
    constants: tuple[Node, ...]
    steps: tuple[Step, ...]
    bound_steps: tuple[Step, ...]
    output: int
    size: int

    @property
    def unbounded(self) -> Node | None:
        """The first operation without a bound rule, or None."""
        return next((step.node for step in self.steps if step.node.op == OPAQUE), None)

    def boundable(self) -> None:
        """Raise unless every operation has a bound rule.

        Raises:
            UnsupportedOp: names the first that has none, with the user's line.
        """
        if self.unbounded is not None:
            raise self.unbounded.attrs["why"].with_traceback(None)


def plan(graph: Graph) -> Plan:
    """Resolve names to slots and operators to factories.

    Raises:
        UnsupportedOp: an operation of another kind than the registered ones and those of the module itself.
    """
    constants = tuple(node for node in graph.nodes if node.op in CONSTANT_OPS)
    varying = [node for node in graph.nodes if node.op not in CONSTANT_OPS]
    slots = {node.name: slot for slot, node in enumerate(varying)}
    by_name = {node.name: node for node in graph.nodes}
    steps = []
    for node in varying:
        if node.op == "input":
            continue
        if node.op != OPAQUE and node.op not in operators:
            raise UnsupportedOp(f"no bounds for `{node.op}`", where=str(node.where), fix="see: epsball list ops")
        varies = [name for name in node.inputs if name in slots]
        steps.append(
            Step(
                slot=slots[node.name],
                node=node,
                args=tuple(slots[name] for name in varies),
                constants=tuple(None if name in slots else name for name in node.inputs),
                shapes=tuple(by_name[name].shape for name in varies),
                factory=Opaque.of if node.op == OPAQUE else operators[node.op],
            )
        )
    ordered = tuple(steps)
    return Plan(graph, constants, ordered, _fold(ordered, slots[graph.output]), slots[graph.output], len(varying))


def _fold(steps: tuple[Step, ...], output: int) -> tuple[Step, ...]:
    readers: dict[int, int] = {output: 1}
    for step in steps:
        for slot in step.args:
            readers[slot] = readers.get(slot, 0) + 1
    by_slot = {step.slot: step for step in steps}
    folded: dict[int, Step] = {}
    for step in steps:
        if step.node.op != "batch_norm":
            continue
        before = by_slot.get(step.args[0])
        # a linear layer over several positions has its channels on the last axis, batch norm on the first
        mixing = before is not None and (before.node.op == "conv" or (before.node.op == "linear" and len(before.node.shape) == 1))
        if before is not None and mixing and readers[before.slot] == 1:
            folded[before.slot] = step
    absorbed = {step.slot: before for before, step in folded.items()}
    result = []
    for step in steps:
        if step.slot in folded:
            continue
        if step.slot in absorbed:
            before = by_slot[absorbed[step.slot]]
            result.append(Step(step.slot, step.node, before.args, step.constants, before.shapes, step.factory, before))
        else:
            result.append(step)
    return tuple(result)


def constants(plan: Plan, params: Params) -> dict[str, Tensor]:
    """The value of every node that does not vary, by name."""
    return fixed_values(plan.constants, params)
