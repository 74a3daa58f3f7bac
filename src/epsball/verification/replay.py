"""Where a counterexample is judged: on the user's own module in its own precision, against the exact set and property."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from epsball.attacks.untouched import untouched

if TYPE_CHECKING:
    from epsball.problem.problem import Problem
    from epsball.problem.sets import InputSet
    from epsball.types import Bool, Float, Function, Tensor


class Replayed(NamedTuple):
    """What the module says.

    Attributes:
        x: (B, *x) the inputs as the module takes them.
        y: (B, K) its outputs.
        margin: (B,) the least of `C y + d`, in float64: exact for differences of float32 outputs.
        broken: (B,) the input lies in the exact set, and its output breaks the property.
    """

    x: Tensor
    y: Tensor
    margin: Float[Tensor, " B"]
    broken: Bool[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class Replay:
    """The judge of one problem.

    Attributes:
        problem: set, property, and the function that is evaluated: without one the prepared network.
    """

    problem: Problem

    @property
    def runs(self) -> Function:
        """What is evaluated."""
        return self.problem.network.forward if self.problem.function is None else self.problem.function

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its inputs."""
        parameters = self.runs.parameters() if isinstance(self.runs, nn.Module) else ()
        return next((p.dtype for p in parameters if p.is_floating_point()), self.problem.network.dtype)

    @cached_property
    def inner(self) -> InputSet:
        """The set rounded inwards, in the precision of the function's inputs: where a counterexample is looked for."""
        return self.problem.input_set.to(self.dtype, self.problem.network.device).inner()

    def __call__(self, x: Tensor) -> Replayed:
        """Evaluate a batch, one input a sample of the problem."""
        problem = self.problem
        there = x.to(problem.network.device, self.dtype)
        with untouched(self.runs), torch.no_grad():
            y = self.runs(there)
        margin = problem.prop.to(torch.float64).margins(y.double()).amin(0)
        return Replayed(there, y, margin, problem.prop.broken(margin) & problem.input_set.holds(there).to(margin.device))
