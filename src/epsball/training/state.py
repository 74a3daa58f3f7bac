"""Everything a run needs to go on as if it had never stopped, as named tensors and a JSON description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from epsball.errors import BadFile
from epsball.training.evaluate import Scores

if TYPE_CHECKING:
    from torch import nn

    from epsball.types import Params, Tensor

FORMAT = "epsball.training/1"
_PARTS = ("model", "optimizer", "random", "average", "memory")
_NUMBERS = ("step", "steps", "per_epoch", "seed", "seconds")
_LATER = ("averaged", "share", "waited")  # not in the first checkpoints of this format


@dataclass(frozen=True, eq=False)
class Selected:
    """The best epoch so far, by verified accuracy on the held-out examples, or by the one under noise.

    Attributes:
        epoch: counted from 1.
        step: steps done.
        clean: accuracy in [0, 1].
        verified: likewise, or None.
        model: every tensor of the module.
        noisy: under the noise of smoothing, or None.
    """

    epoch: int
    step: int
    clean: float
    verified: float | None
    model: Params
    noisy: float | None = None

    @property
    def scores(self) -> Scores:
        return Scores(self.clean, self.verified, self.noisy)


@dataclass(frozen=True, eq=False)
class TrainState:
    """A run between two steps.

    Attributes:
        step: steps done.
        steps: steps of the whole run.
        per_epoch: steps of one epoch.
        seed: of the run; the order of the data follows from it and the epoch.
        seconds: spent so far.
        model: every tensor of the module.
        optimizer: its tensors, named "index of the parameter.key".
        random: torch's global random states, by device.
        best: the best epoch so far, or None.
        average: the averaged weights, empty before they begin.
        averaged: how many are in the average.
        share: of the ramp, where a target moves it.
        waited: epochs since it last moved.
        memory: what the recipe remembers; empty for most.
    """

    step: int
    steps: int
    per_epoch: int
    seed: int
    seconds: float
    model: Params
    optimizer: Params
    random: Params
    best: Selected | None = None
    average: Params = field(default_factory=dict)
    averaged: int = 0
    share: float | None = None
    waited: int = 0
    memory: Params = field(default_factory=dict)

    def pack(self) -> tuple[Params, dict[str, Any]]:
        """Named tensors and their description, for `epsball.storage.write_tensors`."""
        tensors = {f"{part}/{name}": tensor for part in _PARTS for name, tensor in getattr(self, part).items()}
        described: dict[str, Any] = {"format": FORMAT, "best": None}
        described.update({name: getattr(self, name) for name in (*_NUMBERS, *_LATER)})
        if self.best is not None:
            tensors.update({f"best/{name}": tensor for name, tensor in self.best.model.items()})
            described["best"] = {name: getattr(self.best, name) for name in ("epoch", "step", "clean", "verified", "noisy")}
        return tensors, described

    @classmethod
    def unpack(cls, tensors: Params, described: Mapping[str, Any], where: str) -> TrainState:
        """The inverse of `pack`.

        Raises:
            BadFile: the file is no training checkpoint of this format, or lacks something.
        """
        found = described.get("format")
        if found != FORMAT:
            raise BadFile(
                f"not a training checkpoint of format {FORMAT}: found {found!r}",
                where=where,
                fix="give the folder of a training run",
            )
        parts: dict[str, Params] = {part: {} for part in (*_PARTS, "best")}
        try:
            for name, tensor in tensors.items():
                part, _, key = name.partition("/")
                parts[part][key] = tensor
            best = described["best"]
            selected = None if best is None else Selected(model=parts["best"], **best)
            numbers: dict[str, Any] = {name: described[name] for name in _NUMBERS}
            numbers.update({name: described[name] for name in _LATER if name in described})
            tensors_of: dict[str, Any] = {part: parts[part] for part in _PARTS}
            return cls(best=selected, **tensors_of, **numbers)
        except (KeyError, TypeError) as error:
            raise BadFile(
                f"a malformed training checkpoint: {error}", where=where, fix="use an older copy of the run, or start it again"
            ) from error


def copied(tensors: Mapping[str, Tensor]) -> Params:
    """Detached copies on the same device."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def load_model(module: nn.Module, tensors: Params) -> None:
    """Write a state's tensors into a module.

    Raises:
        BadFile: they are those of another architecture; the message names the first difference.
    """
    own = module.state_dict()
    for name in sorted({*own, *tensors}):
        here, there = (tuple(t[name].shape) if name in t else None for t in (own, tensors))
        if here != there:
            raise BadFile(
                f"the checkpoint is of another architecture: {name!r} is {_shape(there)} there and {_shape(here)} here",
                where=type(module).__name__,
                fix="resume with the model that the run was started with",
            )
    module.load_state_dict(tensors)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"


def pack_optimizer(optimizer: torch.optim.Optimizer) -> Params:
    """Copies of an optimizer's tensors."""
    return {
        f"{index}.{key}": value.detach().clone()
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Params) -> None:
    """Write a state's tensors into an optimizer made with the same options."""
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        entries.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state() -> Params:
    """Copies of torch's global random states."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states.update({f"cuda:{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())})
    return states


def load_random(states: Params) -> None:
    """Set torch's global random states."""
    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state.cpu())
        elif torch.cuda.is_available() and int(name.partition(":")[2]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), name)
