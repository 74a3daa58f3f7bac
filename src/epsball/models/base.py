"""The registry of architectures, the normalisation layer, and an architecture as a value that a checkpoint can carry."""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from epsball.errors import BadConfig, BadFile, BadShape, did_you_mean
from epsball.registry import Registry

Builder = Callable[..., nn.Module]
Shape = tuple[int, ...]

models: Registry[Builder] = Registry(
    "model",
    package="epsball.models",
)


class Normalise(nn.Module):
    """`(x - mean) / std` per channel, inside the network: so eps is always in the units of the inputs.

    Args:
        mean: one number a channel, or one for all.
        std: likewise, above 0.
        input_shape: of one sample; its first axis is the channel.

    Raises:
        BadConfig: counts that do not fit the channels, or a deviation that is not a finite number above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], input_shape: Shape) -> None:
        super().__init__()
        if not all(len(values) in (1, input_shape[0]) for values in (mean, std)):
            raise BadConfig(
                f"{len(mean)} means and {len(std)} deviations for inputs of {input_shape[0]} channels",
                fix="give one of each a channel",
            )
        if not (all(map(math.isfinite, (*mean, *std))) and min(std) > 0):
            raise BadConfig("means must be finite, and deviations above 0", fix="take those of the data set")
        for name, values in (("mean", mean), ("std", std)):
            shape = (-1, *[1] * (len(input_shape) - 1))
            self.register_buffer(name, torch.tensor([float(v) for v in values]).view(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised inputs, of the same shape (B, *x)."""
        return (x - self.mean) / self.std


@dataclass(frozen=True)
class Architecture:
    """Everything that is needed to build a network again, without its weights.

    Attributes:
        name: of a registered model.
        input_shape: of one sample.
        classes: how many.
        mean: of a leading normalisation layer, per channel; None for no such layer.
        std: likewise.
        options: of the model.
    """

    name: str
    input_shape: Shape
    classes: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = {str(k): tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        object.__setattr__(self, "options", options)

    def build(self) -> nn.Module:
        """A network with fresh weights from the global random state.

        Raises:
            BadConfig: an unknown model or option, or an option's value that cannot be used.
            BadShape: inputs that the model does not take.
        """
        builder = models[self.name]
        _check_options(self.name, builder, self.options)
        if self.classes < 2 or not self.input_shape or min(self.input_shape) < 1:
            raise BadShape(
                f"a classifier of inputs {self.input_shape} into {self.classes} classes",
                fix="give the shape of one input and at least 2 classes",
            )
        body = builder(self.input_shape, self.classes, **self.options)
        if self.mean is None and self.std is None:
            return body
        if self.mean is None or self.std is None:
            raise BadConfig("a mean without a deviation, or the reverse", fix="give both or neither")
        layer = Normalise(self.mean, self.std, self.input_shape)
        return nn.Sequential(OrderedDict(normalise=layer, body=body))

    def as_dict(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in self.options.items()},
        }

    @classmethod
    def from_dict(cls, found: object, where: str | None = None) -> Self:
        """The architecture of a JSON object.

        Raises:
            BadFile: it is not one.
        """
        try:
            if not isinstance(found, Mapping):
                raise TypeError("not an object")  # noqa: TRY301 - one message for whatever does not fit
            mean, std = (None if found[k] is None else tuple(float(v) for v in found[k]) for k in ("mean", "std"))
            return cls(
                name=str(found["name"]),
                input_shape=tuple(int(n) for n in found["input_shape"]),
                classes=int(found["classes"]),
                mean=mean,
                std=std,
                options=dict(found["options"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(
                f"a malformed description of an architecture: {error}", where=where, fix="use another checkpoint"
            ) from error


def build(
    name: str,
    input_shape: Shape,
    classes: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: object,
) -> nn.Module:
    """A network by name, with fresh weights; see `Architecture.build`.

    Args:
        name: of a registered model.
        input_shape: of one sample.
        classes: how many.
        mean: per channel of the inputs, for a leading normalisation layer.
        std: likewise.
        **options: of the model.
    """
    return architecture(name, input_shape, classes, mean, std, **options).build()


def architecture(
    name: str,
    input_shape: Shape,
    classes: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: object,
) -> Architecture:
    """The description of what `build` builds with these arguments."""
    means, stds = (None if values is None else tuple(float(v) for v in values) for values in (mean, std))
    return Architecture(name, tuple(input_shape), classes, means, stds, options)


def defaults(name: str) -> dict[str, Any]:
    """The options of a model and their default values.

    Raises:
        BadConfig: no model has this name.
    """
    return _options(models[name])


def _options(builder: Builder) -> dict[str, Any]:
    return {k: p.default for k, p in inspect.signature(builder).parameters.items() if p.default is not p.empty}


def _check_options(name: str, builder: Builder, options: Mapping[str, Any]) -> None:
    known = _options(builder)
    for option, value in options.items():
        if option not in known:
            hint = did_you_mean(option, known)
            raise BadConfig(f"the model {name!r} has no option {option!r}", fix=f"{hint or f'it has {sorted(known)}'}")
        if not _fits(value, known[option]):
            raise BadConfig(
                f"the option {option!r} of the model {name!r} cannot be {value!r}",
                fix=f"give a value like its default, {known[option]!r}; numbers are whole and at least 1",
            )


def _fits(value: object, default: object) -> bool:
    """Whether a value is of its default's kind: a truth value, positive whole numbers, another number, or a text."""
    if default is None or isinstance(default, bool) or isinstance(value, bool):
        return default is None or (isinstance(value, bool) and isinstance(default, bool))
    if isinstance(default, int):
        return isinstance(value, int) and value >= 1
    if isinstance(default, tuple):
        return isinstance(value, (tuple, list)) and all(_fits(v, 1) for v in value)
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))
