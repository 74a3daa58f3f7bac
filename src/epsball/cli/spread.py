"""Options that several verbs have: a dataclass as one parameter of a verb, spread into an option a field.

    @dataclass(frozen=True)
    class Examples:
        data: Annotated[str, typer.Option("--data")] = "mnist"
        index: Annotated[str, typer.Option("--index")] = ":"

    def attack(target: Annotated[Examples, defaults(index=":10")], *, strong: Strong = False, output: Output) -> None: ...

`spread(attack)` is what typer is given: it has --data, --index (here with another default), --strong and the options of Output, in
this order, and calls `attack` with the dataclasses. Every verb is registered so, by `add`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import typer

Verb = Callable[..., None]


class Defaults(NamedTuple):
    """What stands in place of the defaults of a dataclass."""

    values: Mapping[str, Any]


def defaults(**values: object) -> Defaults:
    """What `Annotated` holds beside a dataclass where a verb changes its defaults."""
    return Defaults(values)


def add(app: typer.Typer, verbs: Mapping[str, Verb]) -> None:
    """Register verbs by name, in this order."""
    for name, verb in verbs.items():
        app.command(name)(spread(verb))


def spread(verb: Verb) -> Verb:
    """The verb with one parameter an option; a parameter whose type is a dataclass stands for all its fields."""
    signature = inspect.signature(verb, eval_str=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        kind, changed = _group(parameter.annotation)
        if kind is None:
            options.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own = _fields(kind, changed)
        groups[name] = kind, [option.name for option in own]
        options += own

    @functools.wraps(verb)
    def called(**given: object) -> None:
        for name, (kind, names) in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in names})
        verb(**given)

    vars(called)["__signature__"] = signature.replace(parameters=options)
    return called


def _group(annotation: Any) -> tuple[type | None, Mapping[str, Any]]:
    """The dataclass that a parameter stands for, or None, and the defaults that the verb changes."""
    changed: Mapping[str, Any] = {}
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        changed = next((extra.values for extra in more if isinstance(extra, Defaults)), changed)
    return (annotation if isinstance(annotation, type) and is_dataclass(annotation) else None), changed


def _fields(kind: type, changed: Mapping[str, Any]) -> list[inspect.Parameter]:
    hints, known = get_type_hints(kind, include_extras=True), inspect.signature(kind).parameters
    if unknown := [name for name in changed if name not in known]:
        raise TypeError(f"{kind.__name__} has no option {', '.join(unknown)}")
    return [
        parameter.replace(annotation=hints[name], default=changed.get(name, parameter.default), kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in known.items()
    ]
