"""What the loop and the recipes exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch

from epsball.errors import BadData, BadShape, EpsballError
from epsball.ops.network import Network
from epsball.problem.labels import as_labels
from epsball.registry import Registry
from epsball.types import Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled inputs as they are stored: pictures as uint8, turned into floats in [0, 1] on the device, a batch at a time.

    Attributes:
        x: (N, *x), uint8 (0..255), floating point in the valid range, or int64: the numbers of words.
        y: (N,), integers of any type, which become int64.

    Raises:
        BadShape: inputs and labels do not fit, or labels that are not one integer an example.
        BadData: NaN or infinity.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.dim() < 2:
            raise BadShape(f"examples of shape {tuple(self.x.shape)}", fix="x is (N, *x), y is (N,) of integers")
        object.__setattr__(self, "y", as_labels(self.y, count=len(self.x)))
        if self.x.is_floating_point() and not bool(self.x.isfinite().all()):
            raise BadData("the data hold NaN or infinity", fix="remove such examples, or replace the values")

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.x.shape[1:])

    def take(self, index: Tensor | slice) -> Examples:
        """Some of the examples."""
        return Examples(self.x[index], self.y[index])

    def inputs(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Inputs as floats: pictures divided by 255. Words stay whole numbers, for `Network.embed`."""
        x = self.x[index]
        return x.float() / 255 if x.dtype == torch.uint8 else x


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's inputs as floats (B, *x) and labels (B,)."""

    x: Tensor
    y: Tensor


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
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    buffers: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))


class Diverged(EpsballError):
    """The loss or a weight became NaN or infinite. The last checkpoint is from before that."""

    exit_code: ClassVar[int] = 3


class Recipe(Protocol):
    """How to train: a frozen dataclass whose fields are its options."""

    def check(self, data: Examples, run: Progress) -> None:
        """Raise unless this recipe can train on these examples in a run of this length. Called once, before the first step."""
        ...

    def eps_at(self, at: Progress) -> float:
        """The perturbation radius in force at a step; 0 for a recipe without one."""
        ...

    def initialise(self, net: Network) -> None:
        """Set the weights, once, before the first step. The global random state is seeded by the loop."""
        ...

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        """The objective on one batch; differentiable in the network's parameters."""
        ...


def fitted(recipe: type[Recipe], epochs: int) -> dict[str, float]:
    """A schedule for a named recipe in a run of so many epochs: a tenth of them warm up, and half of them ramp."""
    options = {"warmup": 0.1 * epochs, "ramp": 0.5 * epochs}
    return {name: value for name, value in options.items() if hasattr(recipe, name)}


recipes: Registry[type[Recipe]] = Registry("recipe", package="epsball.training.recipes")
