"""Graph -> Plan (names resolved to slots, once) -> Prepared (constants bound, once for each parameter value)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from epsball.errors import UnsupportedOp
from epsball.graph.graph import CONSTANT_OPS, Graph, Node, Shape
from epsball.graph.operator import Affine, Factory, Nonlinear, Operator, operators
from epsball.rounding import Rounding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def plan(graph: Graph) -> Plan:
    """Resolve names to slots and operators to factories.

    Raises:
        UnsupportedOp: an operator has no bound rule.
    """
    constants = tuple(node for node in graph.nodes if node.op in CONSTANT_OPS)
    varying = [node for node in graph.nodes if node.op not in CONSTANT_OPS]
    slots = {node.name: slot for slot, node in enumerate(varying)}
    by_name = {node.name: node for node in graph.nodes}
    steps = []
    for node in varying:
        if node.op == "input":
            continue
        if node.op not in operators:
            raise UnsupportedOp(f"no bounds for `{node.op}`", where=str(node.where), fix="see: epsball list ops")
        varies = [name for name in node.inputs if name in slots]
        steps.append(
            Step(
                slot=slots[node.name],
                node=node,
                args=tuple(slots[name] for name in varies),
                constants=tuple(None if name in slots else name for name in node.inputs),
                shapes=tuple(by_name[name].shape for name in varies),
                factory=operators[node.op],
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


@dataclass(frozen=True, eq=False)
class Bound:
    """A step with its constants bound: what the bound methods walk over."""

    slot: int
    args: tuple[int, ...]
    op: Operator
    node: Node


@dataclass(frozen=True, eq=False)
class Prepared:
    """A network with one set of parameter values: everything that derives from the parameters is computed once.

    Attributes:
        plan: the structure.
        steps: the bound operations, in order.
        dtype: of every bound.
        rounding: what the bounds give away to floating point; None: nothing, as in training.
        precise: gives the same network with bounds in float64; None where these are.
    """

    plan: Plan
    steps: tuple[Bound, ...]
    dtype: torch.dtype
    device: torch.device
    rounding: Rounding | None = None
    precise: Callable[[], Prepared] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The network's value on a batch (B, *x)."""
        values: dict[int, Tensor] = {0: x}
        for step in self.steps:
            values[step.slot] = step.op.value(*[values[slot] for slot in step.args])
        return values[self.plan.output]

    @cached_property
    def frontier(self) -> frozenset[int]:
        """Slots at which a specification stops when it is pulled through the trailing affine operators."""
        ops = self.by_slot
        found, todo = set(), [self.plan.output]
        while todo:
            slot = todo.pop()
            step = ops.get(slot)
            if step is not None and isinstance(step.op, Affine):
                todo.extend(step.args)
            else:
                found.add(slot)
        return frozenset(found)

    @property
    def arithmetic(self) -> str:
        """What its bounds hold for, as verdicts and records say it."""
        return "nothing: plain arithmetic" if self.rounding is None else self.rounding.describe()

    @cached_property
    def by_slot(self) -> dict[int, Bound]:
        """The step that gives each slot its value; the input has none."""
        return {step.slot: step for step in self.steps}

    @cached_property
    def read_bent(self) -> frozenset[int]:
        """Slots that a non-linear operator reads."""
        return frozenset(slot for step in self.nonlinear for slot in step.args)

    @cached_property
    def positive(self) -> frozenset[int]:
        """Slots whose values, and so the ends of whose intervals, are never below 0."""
        return frozenset(step.slot for step in self.nonlinear if cast("Nonlinear", step.op).positive)

    @cached_property
    def tail(self) -> tuple[Bound, ...]:
        """The trailing affine steps, from the frontier to the output."""
        needed, kept = {self.plan.output} - self.frontier, []
        for step in reversed(self.steps):
            if step.slot in needed:
                kept.append(step)
                needed.update(set(step.args) - self.frontier)
        return tuple(reversed(kept))

    @cached_property
    def tail_is_direct(self) -> bool:
        """Whether intervals through the tail are the tightest there are over those of the frontier.

        They are where no value is used twice, so that nothing cancels, and only one operator mixes elements: two of them in a row
        are tighter together than one after the other.
        """
        used = [slot for step in self.tail for slot in step.args]
        mixing = [step for step in self.tail if not (isinstance(step.op, Affine) and step.op.diagonal)]
        return len(used) == len(set(used)) and len(mixing) <= 1

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Elements of each slot's value for one sample."""
        shapes = {step.slot: step.node.shape for step in self.plan.steps} | {0: self.plan.graph.input_shape}
        return {slot: math.prod(shape) for slot, shape in shapes.items()}

    @cached_property
    def tail_width(self) -> int:
        """Elements of the widest node that a specification is pulled to without bounds."""
        return max(self.sizes[slot] for slot in (self.plan.output, *self.frontier))

    @cached_property
    def before_frontier(self) -> tuple[Bound, ...]:
        """The steps whose intervals are needed: the frontier and all it depends on."""
        needed = set(self.frontier)
        kept = []
        for step in reversed(self.steps):
            if step.slot in needed:
                kept.append(step)
                needed.update(step.args)
        return tuple(reversed(kept))

    @cached_property
    def nonlinear(self) -> tuple[Bound, ...]:
        """The steps that a linear method relaxes, in order."""
        return tuple(step for step in self.steps if isinstance(step.op, Nonlinear))

    @cached_property
    def exact_on_boxes(self) -> frozenset[int]:
        """Slots whose intervals lose nothing on a box of inputs: at most one mixing operator, diagonal ones around it."""
        boxes, exact = {0}, {0}
        for step in self.steps:
            single = len(step.args) == 1 and isinstance(step.op, Affine)
            diagonal = single and cast("Affine", step.op).diagonal
            if diagonal and step.args[0] in boxes:
                boxes.add(step.slot)
            if (diagonal and step.args[0] in exact) or (single and step.args[0] in boxes):
                exact.add(step.slot)
        return frozenset(exact)


def prepare(
    plan: Plan, params: Params, dtype: torch.dtype | None = None, rounding: Rounding | None = None, *, like: Tensor | None = None
) -> Prepared:
    """Bind parameter values to a plan. Differentiable: gradients flow from every bound to the parameters.

    Args:
        plan: from `plan(graph)`.
        params: every parameter and buffer by name. Batch-norm statistics are entries like any other, so training passes
            those of its clean batch and verification the running ones.
        dtype: of the bounds; None: of the parameters. What a forward pass derives from parameters alone is computed in their own.
        rounding: what the bounds give away to floating point.
        like: a tensor of the module's dtype and device; None: the first parameter.
    """
    first = next((p for p in params.values() if p.is_floating_point()), torch.empty(0, dtype=torch.float32))
    first = first if like is None else like
    values = _constants(plan.constants, params, first)
    dtype = dtype or first.dtype
    values = {name: value.to(dtype) if value.is_floating_point() else value for name, value in values.items()}
    rounding = None if rounding is None else replace(rounding, steps=len(plan.bound_steps))
    steps = tuple(_bind(step, values, rounding) for step in plan.bound_steps)
    return Prepared(plan, steps, dtype, first.device, rounding)


def _bind(step: Step, values: Mapping[str, Tensor], rounding: Rounding | None) -> Bound:
    op = step.factory(step.node, _given(step, values), step.shapes)
    if step.fold is not None:
        before = step.fold.factory(step.fold.node, _given(step.fold, values), step.fold.shapes)
        op = cast("Any", op).after(before)
    return Bound(step.slot, step.args, op if rounding is None else op.rounded(rounding, math.prod(step.node.shape)), step.node)


def _given(step: Step, values: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(None if name is None else values[name] for name in step.constants)


def bind(step: Step, values: Mapping[str, Tensor]) -> Operator:
    """One step's operator, unfolded: what the clean pass of training walks over."""
    return step.factory(step.node, _given(step, values), step.shapes)


def constants(plan: Plan, params: Params) -> dict[str, Tensor]:
    """The value of every node that does not vary, by name."""
    return fixed_values(plan.constants, params)


def fixed_values(nodes: tuple[Node, ...], params: Params) -> dict[str, Tensor]:
    """The value of every constant node that follows from these parameters, by name."""
    first = next((p for p in params.values() if p.is_floating_point()), torch.empty(0, dtype=torch.float32))
    return _constants(nodes, params, first)


def _constants(nodes: tuple[Node, ...], params: Params, like: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for node in nodes:
        if node.op == "param":
            values[node.name] = params[node.attrs["key"]]
        elif node.op == "literal":
            values[node.name] = torch.full((), node.attrs["value"], dtype=like.dtype, device=like.device)
        else:
            target = cast("Callable[..., Tensor]", node.attrs["target"])
            fill = values.__getitem__
            args = [_fill(a, fill) for a in node.attrs["args"]]
            kwargs = {k: _fill(a, fill) for k, a in node.attrs["kwargs"].items()}
            values[node.name] = target(*args, **kwargs)
    return values


@dataclass(frozen=True)
class Ref:
    """A constant node inside the arguments of another one."""

    name: str


def _fill(argument: Any, value: Callable[[str], Tensor]) -> Any:
    if isinstance(argument, Ref):
        return value(argument.name)
    if isinstance(argument, (list, tuple)):
        return [_fill(a, value) for a in argument]
    return argument
