"""Projected gradient descent (Madry et al. 2018), with steps that decay from a whole radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from epsball.attacks.base import Climb, Result, Stop, attacks, default_generator, search
from epsball.attacks.loss import losses
from epsball.attacks.starts import Starts, base_seed
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from epsball.attacks.base import Run, Task
    from epsball.problem.property import Property
    from epsball.problem.sets import InputSet
    from epsball.types import Function, Tensor

Decay = Literal["linear", "none"]
Start = Literal["random", "nominal"]


@attacks.register("pgd")
@dataclass(frozen=True)
class PGD:
    """Steps of steepest ascent, each projected back into the set.

    The step size is relative to the radius, and decays. A weakly trained MNIST network kept an accuracy of 49 % under 40 steps of
    the classic fixed size (0.01 at eps 0.3, a share of 0.03) and 7 % under steps of a whole radius; the truth was 2 %.

    Attributes:
        steps: gradient steps of one run.
        step_size: the first step, as a share of the set's radius (for a box of each feature's own radius).
        decay: "linear": steps shrink linearly to 0 at the end of the run; "none": they stay.
        restarts: runs; with targets each run goes through all of them.
        start: where a run starts: "random", a point of the set, or "nominal". The nominal input is always among the candidates.
            A random start depends on the seed and the sample alone, not on its batch.
        targets: "none": break any row of the property; "all": every row (class) in turn; k: the k rows of least nominal margin.
        loss: a key of `losses`.
        stop: "never": every run goes on and the least margin is kept, which is right for a largest loss; "success": a sample whose
            property is broken leaves the batch for good, which is right, and faster, for robust accuracy.

    Cost:    restarts x targets x (steps gradients + one forward pass).
    Raises:  BadConfig for an option out of range; what every attack raises.
    Paper:   Madry et al. 2018, arXiv:1706.06083.  Differs: decaying steps; the log-odds instead of cross-entropy (same ascent).
    """

    steps: int = 40
    step_size: float = 1.0
    decay: Decay = "linear"
    restarts: int = 1
    start: Start = "random"
    targets: int | Literal["none", "all"] = "none"
    loss: str = "cross-entropy"
    stop: Stop = "never"

    def __post_init__(self) -> None:
        losses[self.loss]  # an unknown name fails here, not in the first batch
        if self.steps < 1 or self.restarts < 1 or not self.step_size > 0:
            raise BadConfig(
                "an attack needs steps, restarts and a step size above 0",
                where=repr(self),
                fix="give steps >= 1, restarts >= 1 and step_size > 0",
            )
        for value, known in (
            (self.decay, ("linear", "none")),
            (self.start, ("random", "nominal")),
            (self.stop, ("never", "success")),
        ):
            if value not in known:
                raise BadConfig(f"unknown option {value!r}", where=repr(self), fix=f"use {' or '.join(known)}")
        if self.targets not in ("none", "all") and not (isinstance(self.targets, int) and self.targets >= 1):
            raise BadConfig(f"unknown targets {self.targets!r}", fix='use "none", "all" or a number of rows of at least 1')

    def __call__(self, function: Function, input_set: InputSet, prop: Property, generator: torch.Generator | None = None) -> Result:
        """The input of least margin over all runs."""

        def runs(task: Task, nominal: Tensor) -> Iterator[Run]:
            return self._runs(task, nominal, default_generator(task, generator))

        return search(function, input_set, prop, runs)

    def step_sizes(self) -> tuple[float, ...]:
        """Shares of the radius, one a step."""
        steps = range(self.steps)
        return tuple(self.step_size * (1 - step / self.steps if self.decay == "linear" else 1.0) for step in steps)

    def _runs(self, task: Task, nominal: Tensor, generator: torch.Generator) -> Iterator[Run]:
        climb = Climb(losses[self.loss], self.step_sizes(), self.stop)
        rows = self._rows(task)
        left = task.everyone[nominal >= 0] if self.stop == "success" else task.everyone
        starts = Starts(task.input_set, base_seed(generator)) if self.start == "random" else None
        for restart in range(self.restarts):
            for number, row in enumerate(rows):
                if len(left) == 0:
                    return
                part = task.take(left)
                start = part.x if starts is None else starts.draw(left, restart * len(rows) + number)
                x, margin = climb(part, start, None if row is None else row[left])
                yield left, x, margin
                if self.stop == "success":
                    left = left[margin > 0]

    def _rows(self, task: Task) -> list[Tensor | None]:
        """The target of each sample, for one run after the other: rows of least nominal margin first."""
        if self.targets == "none":
            return [None]
        order = task.prop.margins(task.function(task.x)).argsort(0)
        return list(order if self.targets == "all" else order[: self.targets])
