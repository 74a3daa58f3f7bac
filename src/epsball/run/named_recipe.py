"""A recipe by its name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from epsball.errors import BadConfig
from epsball.training.base import Recipe, fitted, recipes
from epsball.values import build


def named_recipe(name: str, eps: float | None, epochs: int) -> Recipe:
    """A recipe by name, its schedule fitted to a number of epochs.

    Raises:
        BadConfig: unknown, it needs an eps, or it has none and one was given.
    """
    kind = recipes[name]
    has_eps = any(field.name == "eps" for field in fields(cast("Any", kind)))
    if eps is not None and not has_eps:
        raise BadConfig(
            f"the recipe {name!r} has no eps", where="eps", fix="leave it out; test_eps is the radius that epochs are judged at"
        )
    return build(kind, fitted(kind, epochs) | ({} if eps is None else {"eps": eps}), "recipe")
