"""jaxtyping's check of a call, once for each combination of shapes and types: it looks at nothing else of a value.

A check of every call takes more than half the time of a linear bound. What was passed once with the same types, shapes and
dtypes, of arguments and result, is not asked again; what is new is. No wrong shape passes that did not pass before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jaxtyping
import torch
from torch import Tensor

PLAIN = frozenset((type(None), int, float, bool, str, type, torch.Size, torch.dtype))
_decorate = jaxtyping.jaxtyped


def kind(value: Any) -> object:
    """All that a shape annotation can tell apart: types, shapes and dtypes, also of what an object or a sequence holds."""
    own = type(value)
    if own is Tensor:
        return value.shape, value.dtype
    if own in PLAIN:
        return own
    if isinstance(value, Tensor):
        return own, value.shape, value.dtype
    if isinstance(value, list | tuple):
        return own, *map(kind, value)
    held = getattr(value, "__dict__", None)
    return (own, *map(kind, held.values())) if held and not isinstance(value, type) else own


def remembering(checked: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which is checked where its arguments or its result are of a kind that was not seen before."""
    plain = checked.__wrapped__
    passed: dict[tuple[object, ...], set[object]] = {}

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return checked(*args, **kwargs)
        asked = tuple([kind(value) for value in args])
        if kwargs:
            asked += tuple([(name, kind(value)) for name, value in kwargs.items()])
        if asked in passed:
            out = plain(*args, **kwargs)
            if kind(out) in passed[asked]:
                return out
        out = checked(*args, **kwargs)
        passed.setdefault(asked, set()).add(kind(out))
        return out

    return call


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """In the place of `jaxtyping.jaxtyped`, for functions and dataclasses."""

    def decorate(fn: Any) -> Any:
        made = _decorate(fn, typechecker=typechecker)
        if not isinstance(made, type):
            return remembering(made)
        if "__init__" in vars(made):
            made.__init__ = remembering(made.__init__)
        return made

    return decorate
