"""Plain values, as TOML and the command line have them, to frozen dataclasses and back.

Numbers may be written as exact fractions in quotes; "none" stands for no value where one is optional.
"""

from __future__ import annotations

import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from epsball.errors import BadConfig, did_you_mean
from epsball.problem.change import Change
from epsball.problem.columns import Column, Columns
from epsball.problem.threat import Threat

T = TypeVar("T")
Table = dict[str, Any]
_FRACTION = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass from plain values.

    Raises:
        BadConfig: an unknown or missing key, a value of the wrong type, or one that the class refuses.
    """
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(cast("Any", kind)) if f.init}
    for key in values:
        if key not in known:
            hint = did_you_mean(key, known)
            raise BadConfig(f"unknown option {key!r}", where=f"{where}.{key}", fix=hint or f"{where} takes {', '.join(known)}")
    for name, option in known.items():
        if name not in values and option.default is MISSING and option.default_factory is MISSING:
            raise BadConfig(f"{where} needs {name!r}", where=f"{where}.{name}", fix=f"set {name} in [{where}], or --set {name}=...")
    made = {key: _value(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**made)
    except BadConfig as error:
        if error.where:
            raise
        raise BadConfig(error.what, where=where, fix=error.fix) from error


def threat_of(values: Mapping[str, Any], where: str) -> Threat:
    """A threat from plain values.

    Raises:
        BadConfig: as of `build`.
    """
    ball = dict(values)
    columns, table = (ball.pop(name, kind) for name, kind in (("columns", {}), ("table", [])))
    table = table.get("columns", []) if isinstance(table, dict) else table
    for name, value, kind in (("columns", columns, dict), ("table", table, list)):
        if not isinstance(value, kind) or not all(isinstance(v, dict) for v in _entries(value)):
            raise BadConfig(
                f"{name} must hold tables", where=f"{where}.{name}", fix="write [columns.NAME] for each, and [[table]] for each"
            )
    if not values:
        raise BadConfig("an empty threat", where=where, fix="give eps, or [columns.NAME] with what may happen to it")
    made = {name: build(Change, change, f"{where}.columns.{name}") for name, change in columns.items()}
    known = Columns(tuple(build(Column, column, f"{where}.table") for column in table)) if table else None
    return replace(build(Threat, ball, where), columns=made, table=known)


def _entries(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def options(kind: type[T], settings: Sequence[str], where: str) -> T:
    """A frozen dataclass from `key=value` texts, such as those of --set.

    Raises:
        BadConfig: as of `build`.
    """
    values: Table = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise BadConfig(f"not an option: {setting!r}", where="--set", fix="write --set steps=100")
        values[key.strip()] = text_value(text)
    return build(kind, values, where)


def text_value(text: str) -> Any:
    """A value of `key=value`: TOML's, else a bare word or a fraction."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()  # a bare word or a fraction


def _value(hint: Any, value: Any, where: str) -> Any:
    """A plain value as a field's type: fractions, "none", and pydantic for the rest."""
    kinds = _kinds(hint)
    if Threat in kinds and isinstance(value, Mapping):
        return threat_of(value, where)
    if value == "none" and type(None) in kinds and str not in kinds:
        return None
    value = _exact(value, where) if str not in kinds else value
    if isinstance(value, bool) and bool not in kinds:
        raise BadConfig(f"{str(value).lower()} is not a number", where=where, fix="give a number, or an exact fraction in quotes")
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        inner = "".join(f".{part}" for part in first["loc"] if isinstance(part, int))
        known = [name for name in get_args(hint) if isinstance(name, str)]
        hinted = did_you_mean(value, known) if isinstance(value, str) else ""
        raise BadConfig(
            f"{where}{inner}: {first['msg']}, not {value!r}", where=where, fix=hinted or "see: epsball show recipe NAME"
        ) from error


def _kinds(hint: Any) -> set[Any]:
    """The plain types that an annotation allows at its top."""
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*(_kinds(part) for part in get_args(hint)))
    origin = get_origin(hint)
    return {type(get_args(hint)[0])} if str(origin) == "typing.Literal" else {origin or hint}


def _exact(value: Any, where: str) -> Any:
    """Fractions in quotes as numbers, also within a list."""
    if isinstance(value, list):
        return [_exact(part, where) for part in value]
    found = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return value
    if not Fraction(found[2]):
        raise BadConfig(f"a division by zero: {value!r}", where=where, fix="give a denominator that is not 0")
    return float(Fraction(found[1]) / Fraction(found[2]))


def plain(value: Any) -> Any:
    """An option as TOML can hold it."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if is_dataclass(value):
        given = [(f, getattr(value, f.name)) for f in fields(value)]
        return {f.name: plain(v) for f, v in given if v is not None and v not in ({}, f.default)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    return str(value) if isinstance(value, Path) else value
