"""One changed copy of each input under any noise, sampled or counted: what trains a base classifier for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import torch

from epsball.device import generator
from epsball.errors import BadConfig
from epsball.smoothing.noises.continuous import Noise, Shape, noises
from epsball.smoothing.noises.exact import Enumeration, enumerations

if TYPE_CHECKING:
    from epsball.types import Float, Int, Tensor

Draw = Callable[["Tensor", torch.Generator], "Tensor"]


def named(name: str, scale: float, hidden: float) -> Noise | Enumeration:
    """A noise by name, with its first option at `scale`, for a network that takes inputs of their own shape.

    Args:
        name: as `epsball list noises` or `epsball list exact-noises` shows.
        scale: sigma, width, number of pixels, ...
        hidden: the value that a pixel takes where the noise hides it.

    Raises:
        BadConfig: an unknown name, or a scale that it cannot have.
    """
    kind = cast("Any", enumerations[name] if name in enumerations else noises[name])
    first, hints = scale_of(kind), get_type_hints(kind)
    whole = hints[first] is int
    if whole and scale != int(scale):
        raise BadConfig(f"the {first} of {name} noise is a whole number, not {scale}", fix=f"give {round(scale)}")
    made: Noise | Enumeration = kind(int(scale) if whole else scale, **({"hidden": hidden} if "hidden" in hints else {}))
    return made


def scale_of(kind: type[object]) -> str:
    """The option that is a noise's scale: the first one."""
    return fields(cast("Any", kind))[0].name


def copies(noise: Noise | Enumeration, x: Float[Tensor, "B *x"], seeds: Int[Tensor, " B"]) -> Float[Tensor, "B *x"]:
    """One random copy of each input, which depends on its own seed alone.

    Raises:
        BadConfig: the noise changes the shape of its inputs.
    """
    inputs: Shape = tuple(x.shape[1:])
    if noise.shape(inputs) != inputs:
        raise BadConfig(f"{noise} changes the shape of its inputs", fix="give `hidden` a value")
    draw = _counted(noise, inputs) if isinstance(noise, Enumeration) else _filled(noise)
    found = [draw(one, generator(x.device, seed)) for one, seed in zip(x, seeds.tolist(), strict=True)]
    return torch.stack(found)


def _filled(noise: Noise) -> Draw:
    def draw(x: Tensor, random: torch.Generator) -> Tensor:
        out = torch.empty_like(x)[None]
        noise.fill(out, x, random)
        return out[0]

    return draw


def _counted(noise: Enumeration, inputs: Shape) -> Draw:
    total = noise.total(inputs)

    def draw(x: Tensor, random: torch.Generator) -> Tensor:
        at = int(torch.randint(total, (), generator=random, device=random.device))
        return noise.copies(x, at, at + 1)[0]

    return draw
