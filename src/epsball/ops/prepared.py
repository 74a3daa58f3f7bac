"""Plan -> Prepared: constants bound, once for each parameter value."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from epsball.graph.constants import constant_values
from epsball.ops.opaque import Opaque
from epsball.ops.operator import Affine, Nonlinear, Operator
from epsball.rounding import Rounding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from epsball.graph.graph import Node
    from epsball.ops.plan import Plan, Step
    from epsball.types import Params, Tensor

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Layer:
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
    steps: tuple[Layer, ...]
    dtype: torch.dtype
    device: torch.device
    rounding: Rounding | None = None
    precise: Callable[[], Prepared] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The network's value on a batch (B, *x)."""
        return self.walk(lambda step, xs: step.op.value(*xs), {0: x}, self.steps)[self.plan.output]

    @staticmethod
    def walk(rule: Callable[[Layer, list[T]], T], found: Mapping[int, T], steps: Iterable[Layer]) -> dict[int, T]:
        """What a rule finds for each slot from what it found for the arguments, step by step; `found` is where it starts from."""
        values = dict(found)
        for step in steps:
            values[step.slot] = rule(step, [values[slot] for slot in step.args])
        return values

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
    def by_slot(self) -> dict[int, Layer]:
        """The step that gives each slot its value; the input has none."""
        return {step.slot: step for step in self.steps}

    @cached_property
    def read_bent(self) -> frozenset[int]:
        """Slots that a non-linear operator reads."""
        return frozenset(slot for step in self.nonlinear for slot in step.args)

    @cached_property
    def positive(self) -> frozenset[int]:
        """Slots whose intervals are never below 0: those of an operator's own rule, which no better bounds replace."""
        return frozenset(step.slot for step in self.nonlinear if cast("Nonlinear", step.op).positive) - self.read_bent

    @cached_property
    def tail(self) -> tuple[Layer, ...]:
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
    def before_frontier(self) -> tuple[Layer, ...]:
        """The steps whose intervals are needed: the frontier and all it depends on."""
        needed = set(self.frontier)
        kept = []
        for step in reversed(self.steps):
            if step.slot in needed:
                kept.append(step)
                needed.update(step.args)
        return tuple(reversed(kept))

    @cached_property
    def nonlinear(self) -> tuple[Layer, ...]:
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
    values = constant_values(plan.constants, params, first)
    dtype = dtype or first.dtype
    values = {name: value.to(dtype) if value.is_floating_point() else value for name, value in values.items()}
    rounding = None if rounding is None else replace(rounding, steps=len(plan.bound_steps))
    steps = tuple(_bind(step, values, rounding, dtype) for step in plan.bound_steps)
    return Prepared(plan, steps, dtype, first.device, rounding)


def _bind(step: Step, values: Mapping[str, Tensor], rounding: Rounding | None, dtype: torch.dtype) -> Layer:
    op = step.factory(step.node, _given(step, values), step.shapes)
    if isinstance(op, Opaque):
        return Layer(step.slot, step.args, replace(op, dtype=dtype), step.node)
    if step.fold is not None:
        before = step.fold.factory(step.fold.node, _given(step.fold, values), step.fold.shapes)
        op = cast("Any", op).after(before)
    return Layer(step.slot, step.args, op if rounding is None else op.rounded(rounding, math.prod(step.node.shape)), step.node)


def _given(step: Step, values: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(None if name is None else values[name] for name in step.constants)


def bind(step: Step, values: Mapping[str, Tensor]) -> Operator:
    """One step's operator, unfolded: what the clean pass of training walks over."""
    return step.factory(step.node, _given(step, values), step.shapes)
