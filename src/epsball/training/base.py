"""What the loop and the recipes exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from epsball.errors import EpsballError
from epsball.ops.network import Network
from epsball.registry import Registry
from epsball.types import Tensor

if TYPE_CHECKING:
    from epsball.examples import Examples
    from epsball.problem.columns import Columns
    from epsball.problem.threat import Threat
    from epsball.training.evaluate import Evaluation
    from epsball.training.memory import Memory

Policy = Literal["clean", "detached", "adversarial", "population"]
"""Whose statistics batch norm uses when a perturbed batch or its bounds pass it.

- "clean": those of the clean batch; gradients flow through them.
- "detached": the same numbers as constants: a cheaper step, and another objective.
- "adversarial": those of the attacked batch itself, which also moves the running statistics; for recipes that attack.
- "population": as "clean" in a step; before each evaluation the running statistics are estimated again over the training set.
"""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples of a step.

    Attributes:
        x: inputs as floats (B, *x).
        y: labels (B,).
        index: (B,) which of the training examples they are; None where a loss is asked for by itself.
        memory: what the recipe remembers, or None.
    """

    x: Tensor
    y: Tensor
    index: Tensor | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done so far.
        steps: steps of the whole run.
        per_epoch: steps of one epoch.
        share: how far the ramp has come, 0 to 1, where a measured target says so; None: the clock does.
        paced: what `share` is for: "eps", "kappa" or "both".
        waited: epochs since `share` last moved.
        live: a recipe's `knobs` as tensors, in a step that is recorded and played again; None: they are plain numbers.
    """

    step: int
    steps: int
    per_epoch: int
    share: float | None = None
    paced: str = "both"
    waited: int = 0
    live: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False)

    @property
    def epoch(self) -> float:
        return self.step / self.per_epoch

    def value(self, knobs: Mapping[str, float], name: str) -> float | Tensor:
        """One of a recipe's knobs, as a number or as the tensor that stands for it."""
        return knobs[name] if self.live is None else self.live[name]


@dataclass(frozen=True, eq=False)
class Loss:
    """What a recipe returns.

    Attributes:
        total: the scalar to differentiate.
        parts: scalars to log, still on the device: reading them synchronises, so the loop does it once in a while.
        buffers: new values of the network's running statistics, by name: the loop writes them after the step.
        kept: new values of the recipe's memory, by name: one row an example of the batch, or what all of them share.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    buffers: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    kept: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))


class Diverged(EpsballError):
    """The loss or a weight became NaN or infinite. The last checkpoint is from before that."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True)
class Schedule:
    """How long a recipe takes to come to full strength.

    Attributes:
        warmup: epochs in which nothing moves.
        ramp: epochs after those until everything is at its final value.
    """

    warmup: float = 0.0
    ramp: float = 0.0


class Recipe(ABC):
    """How to train: a frozen dataclass whose fields are its options.

    Only `loss` has no default. What a loss is made of, each part computed once, is in `epsball.training.quantities`.
    """

    @property
    def threat(self) -> Threat | None:
        """The perturbations that the recipe trains against, at their full size; None where it trains against none."""
        return None

    def over(self, table: Columns | None) -> Recipe:
        """The same, for examples whose features mean this: what a threat to columns needs to know. None: nothing is known."""
        return self

    @property
    def schedule(self) -> Schedule:
        """How long it takes to come to full strength."""
        return Schedule()

    @property
    def statistics(self) -> Policy:
        """Whose statistics batch norm uses when a perturbed batch, or its bounds, pass it."""
        return "clean"

    @property
    def frozen(self) -> str | None:
        """Where the fixed classifier behind what is trained is stored; empty: it was not named; None: there is none."""
        return None

    def judge(self) -> Evaluation | None:
        """What epochs are judged and selected by; None: interval bounds of the threat, or at the run's test radius."""
        return None

    def memory(self, data: Examples) -> Memory | None:
        """What the recipe remembers from step to step: of each example, or of all together. None: nothing.

        It is given to `loss` with the batch, what the loss returns as `kept` is written to it after the step, and it is part of
        every checkpoint.
        """
        return None

    def check(self, data: Examples, run: Progress) -> None:
        """Raise unless this recipe can train on these examples in a run of this length. Called once, before the first step."""
        return

    def eps_at(self, at: Progress) -> float:
        """The perturbation radius in force at a step; 0 for a recipe without one."""
        return 0.0

    def stage_at(self, at: Progress) -> int:
        """The stage of a recipe that trains in stages, from 0. The optimizer's state and the averages begin anew with each."""
        return 0

    def initialise(self, net: Network) -> None:
        """Set the weights, once, before the first step. The global random state is seeded by the loop."""
        return

    def knobs(self, at: Progress) -> dict[str, float] | None:
        """The numbers of the loss that change from step to step; which terms it has follows from those that are 0 or 1.

        None: the recipe does not say, and its steps can be neither compiled nor recorded.
        """
        return None

    @abstractmethod
    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        """The objective on one batch; differentiable in the network's parameters."""


def fitted(recipe: type[Recipe], epochs: int) -> dict[str, float]:
    """A schedule for a named recipe in a run of so many epochs: a tenth of them warm up, and half of them ramp."""
    options = {"warmup": 0.1 * epochs, "ramp": 0.5 * epochs}
    known = {f.name for f in fields(cast("Any", recipe))}
    return {name: value for name, value in options.items() if name in known}


recipes: Registry[type[Recipe]] = Registry("recipe", package="epsball.training.recipes")
