"""A step that is recorded once and played again: a loss that torch compiles, or a whole step as a CUDA graph.

What changes from step to step, radius and weights, goes in as tensors: a recipe's `knobs`. Which terms a loss has depends on
which of them are 0 or 1, so each such pattern, a phase, is recorded for itself: warm-up, ramp and the rest of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.stateless import _reparametrize_module

from epsball.training.base import Batch, Loss, Progress, Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from epsball.ops.network import Network
    from epsball.types import Tensor

Backend = Literal["none", "inductor", "aot_eager", "eager"]
BACKENDS: tuple[Backend, ...] = ("none", "inductor", "aot_eager", "eager")
_WARM = 3  # steps of a phase before it is recorded: libraries choose their algorithms, the optimizer makes its state

Phase = tuple[tuple[str, float | None], ...]


def knobs(recipe: Recipe, at: Progress) -> dict[str, float]:
    """The numbers of a recipe's loss that change from step to step."""
    found = recipe.knobs(at)
    if found is None:
        raise TypeError(f"{type(recipe).__name__} does not say which numbers of its loss change")
    return found


def phase(values: Mapping[str, float]) -> Phase:
    """What decides which terms a loss has: the knobs that are 0 or 1; the others may take any value between."""
    return tuple((name, value if value in (0.0, 1.0) else None) for name, value in values.items())


class CompiledLoss:
    """A recipe's loss and its gradient, traced as one graph of tensor operations and compiled, once a phase.

    Args:
        net: whose parameters the gradient is in.
        recipe: with `knobs`.
        loss: what is minimised: the recipe's loss and what the run adds to it.
        backend: of `torch.compile`.
    """

    def __init__(self, net: Network, recipe: Recipe, loss: Callable[[Batch, Progress], Loss], backend: str) -> None:
        self._net, self._recipe, self._loss, self._backend = net, recipe, loss, backend
        self._compiled: dict[tuple[Phase, torch.Size], Callable[..., Any]] = {}

    def __call__(self, batch: Batch, at: Progress) -> tuple[Loss, list[tuple[Tensor, Tensor]]]:
        """The loss of a batch, and each parameter that it depends on with the gradient in it."""
        module, values = self._net.module, knobs(self._recipe, at)
        tensors = dict((*module.named_parameters(), *module.named_buffers()))
        live = {name: torch.full((), value, dtype=batch.x.dtype, device=batch.x.device) for name, value in values.items()}
        given = (tensors, batch.x, batch.y, live)
        key = phase(values), batch.x.shape
        if key not in self._compiled:
            graph = make_fx(self._joint(at), tracing_mode="fake")(*given)
            self._compiled[key] = torch.compile(graph, backend=self._backend, dynamic=False)
        with torch.no_grad():
            total, parts, buffers, gradients = self._compiled[key](*given)
        return Loss(total, parts, buffers), [(tensors[name], gradient) for name, gradient in gradients.items()]

    def _joint(self, at: Progress) -> Callable[..., Any]:
        module, minimised = self._net.module, self._loss
        names = [name for name, p in module.named_parameters() if p.requires_grad]

        def joint(tensors: dict[str, Tensor], x: Tensor, y: Tensor, live: dict[str, Tensor]) -> tuple[Any, ...]:
            with _reparametrize_module(module, tensors):
                loss = minimised(Batch(x, y), replace(at, live=live))
                found = torch.autograd.grad(loss.total, [tensors[name] for name in names], allow_unused=True)
            gradients = {name: g for name, g in zip(names, found, strict=True) if g is not None}
            return loss.total.detach(), dict(loss.parts), dict(loss.buffers), gradients

        return joint


@dataclass(eq=False)
class _Slot:
    """One phase: the tensors that its graph reads and writes."""

    x: Tensor
    y: Tensor
    live: dict[str, Tensor]
    warm: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    losses: list[Loss] = field(default_factory=list)


class CapturedStep:
    """A whole step, gradient, clipping and update, as one CUDA graph a phase.

    Args:
        update: takes inputs, labels and progress, and moves the weights without reading anything back.
        optimizer: made with `capturable`, its learning rate a tensor.
    """

    def __init__(self, update: Callable[[Tensor, Tensor, Progress], list[Loss]], optimizer: torch.optim.Optimizer) -> None:
        self._update, self._optimizer = update, optimizer
        self._slots: dict[Phase, _Slot] = {}

    def __call__(self, x: Tensor, y: Tensor, at: Progress, recipe: Recipe) -> list[Loss]:
        """Take one step; the losses are written again by the next one."""
        values = knobs(recipe, at)
        slot = self._slot(x, y, values)
        slot.x.copy_(x)
        slot.y.copy_(y)
        for name, value in values.items():
            slot.live[name].fill_(value)
        at = replace(at, live=slot.live)
        if slot.warm < _WARM:
            slot.warm += 1
            return self._aside(slot, at)
        if slot.graph is None:
            slot.graph = self._record(slot, at)
        slot.graph.replay()
        return slot.losses

    def _slot(self, x: Tensor, y: Tensor, values: Mapping[str, float]) -> _Slot:
        key = phase(values)
        if key not in self._slots:
            live = {name: torch.zeros((), dtype=x.dtype, device=x.device) for name in values}
            self._slots[key] = _Slot(torch.empty_like(x), torch.empty_like(y), live)
        return self._slots[key]

    def _aside(self, slot: _Slot, at: Progress) -> list[Loss]:
        """A step on a stream of its own, as recording asks of the first ones."""
        stream: torch.cuda.Stream = cast("Any", torch.cuda.Stream)()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = self._update(slot.x, slot.y, at)
        torch.cuda.current_stream().wait_stream(stream)
        return losses

    def _record(self, slot: _Slot, at: Progress) -> torch.cuda.CUDAGraph:
        """Record a step, which does not take it. Gradients must be allocated within, so there is none before."""
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            slot.losses = self._update(slot.x, slot.y, at)
        return graph
