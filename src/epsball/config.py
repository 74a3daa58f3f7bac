"""Configuration: a TOML text and `key=value` overrides to frozen dataclasses, and back. Nothing in it is ever executed.

    [recipe]                [train]               [model]               [data]
    name = "fast-ibp"       epochs = 20           name = "small"        name = "mnist"
    eps = "8/255"           milestones = [15]

Numbers may be written as exact fractions in quotes; "none" stands for no value where one is optional. A recipe's and the
training's options are checked here by type and by their own rules; those of a model and a data set by their makers.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

from epsball.errors import BadConfig, BadFile, did_you_mean
from epsball.problem.threat import Threat
from epsball.training.base import Recipe, recipes
from epsball.training.config import TrainConfig
from epsball.values import Table, build, plain, text_value, threat_of

_SECTIONS = ("recipe", "train", "model", "data")


@dataclass(frozen=True)
class Named:
    """An entry of a registry, and the options it is made with.

    Attributes:
        name: of the entry.
        options: checked by whoever makes it.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunConfig:
    """A training run: which recipe, how long, which model, which data."""

    recipe: Recipe
    train: TrainConfig
    model: Named
    data: Named

    def as_dict(self) -> dict[str, Table]:
        """Every option with its value, as plain TOML values."""
        recipe = {"name": recipes.name_of(type(self.recipe)), **_options(self.recipe)}
        parts: dict[str, Table] = {"recipe": recipe, "train": _options(self.train)}
        for name in ("model", "data"):
            part: Named = getattr(self, name)
            parts[name] = {"name": part.name, **{k: plain(v) for k, v in part.options.items()}}
        return parts

    def fingerprint(self) -> str:
        """A short hash, the same for equal values in any order; run records name it."""
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(source: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """A configuration from a TOML file (a Path) or text (a str).

    Args:
        source: the file or the text.
        overrides: `table.key=value`, or `key=value` where only one of recipe and train has the key; later ones win.

    Raises:
        BadFile: no such file, or it is not TOML; the message names the line.
        BadConfig: an unknown name or key, or a value that cannot be used; the message names its path.
    """
    tables = parse(source)
    for override in overrides:
        _override(tables, override)
    unknown = [name for name in tables if name not in _SECTIONS]
    if unknown:
        hint = did_you_mean(unknown[0], _SECTIONS)
        raise BadConfig(f"unknown table [{unknown[0]}]", where=unknown[0], fix=hint or f"use {', '.join(_SECTIONS)}")
    recipe = dict(_table(tables, "recipe"))
    kind = recipes[_name(recipe, "recipe", f"name one of {', '.join(recipes)}")]
    return RunConfig(
        recipe=build(kind, recipe, "recipe"),
        train=build(TrainConfig, _table(tables, "train"), "train"),
        model=_named(tables, "model"),
        data=_named(tables, "data"),
    )


def parse(source: Path | str) -> Table:
    """The tables of a TOML file or text.

    Raises:
        BadFile: no such file, or it is not TOML.
    """
    where = str(source) if isinstance(source, Path) else "the configuration"
    try:
        text = source.read_text("utf-8") if isinstance(source, Path) else source
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadFile(f"the configuration cannot be read: {why}", where=where, fix="give a TOML file") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = re.search(r"\(at line (\d+), column (\d+)\)", message)
        place = f"{where}:{found[1]}:{found[2]}" if found else f"{where}, at its end"
        raise BadFile(f"not TOML: {message.partition(' (at')[0]}", where=place, fix="see https://toml.io") from error


def load_threat(source: Path | str) -> Threat:
    """A threat from a TOML file (a Path, or a text that ends in .toml) or text.

        [columns.age]           [columns.purpose]       [[table]]               # only where the data do not say it
        eps = 2                 to = "any"              name = "age"
        direction = "up"                                kind = "integer"

    Or a ball: `eps = "8/255"`, `norm = "linf"`, `clip = [0, 1]`.

    Raises:
        BadFile: no such file, or it is not TOML.
        BadConfig: an unknown key, or a value that cannot be used; the message names its path.
    """
    named = isinstance(source, str) and source.endswith(".toml")
    return threat_of(parse(Path(source) if named else source), "threat")


def against(config: RunConfig, threat: Threat) -> RunConfig:
    """The same run, against a threat.

    Raises:
        BadConfig: its recipe trains against none, or against one of its own only.
    """
    recipe: Any = config.recipe
    if "against" not in {f.name for f in fields(recipe)}:
        known = [name for name, kind in recipes.items() if "against" in {f.name for f in fields(cast("Any", kind))}]
        raise BadConfig(
            f"the recipe {recipes.name_of(type(recipe))!r} takes no threat", where="--threat", fix=f"use one of {', '.join(known)}"
        )
    return replace(config, recipe=replace(recipe, against=threat))


def _override(tables: Table, override: str) -> None:
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path) or len(path) > 2:
        raise BadConfig(f"not an override: {override!r}", where="--set", fix="write --set recipe.eps=0.3 or --set eps=8/255")
    if len(path) == 1:
        path = [_owner(tables, path[0]), path[0]]
    _table(tables, path[0])[path[1]] = text_value(text)


def _owner(tables: Table, key: str) -> str:
    """The table that a bare key belongs to."""
    options = {"train": [f.name for f in fields(TrainConfig)], "recipe": []}
    name = _table(tables, "recipe").get("name")
    if isinstance(name, str) and name in recipes:
        options["recipe"] = [f.name for f in fields(cast("Any", recipes[name]))]
    owners = [table for table, names in options.items() if key in names]
    if len(owners) != 1:
        hint = did_you_mean(key, [*options["train"], *options["recipe"]])
        raise BadConfig(f"no option {key!r}", where=f"--set {key}", fix=hint or "write the table too: --set model.name=...")
    return owners[0]


def _table(tables: Table, name: str) -> Table:
    found = tables.setdefault(name, {})
    if not isinstance(found, dict):
        raise BadConfig(f"{name} must be a table", where=name, fix=f"write [{name}] and its options below")
    return found


def _name(table: Table, where: str, fix: str) -> str:
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise BadConfig(f"[{where}] needs a name", where=f"{where}.name", fix=fix)
    return name


def _named(tables: Table, where: str) -> Named:
    table = dict(_table(tables, where))
    return Named(_name(table, where, f"see: epsball list {'models' if where == 'model' else where}"), table)


def _options(made: object) -> Table:
    return {f.name: plain(getattr(made, f.name)) for f in fields(cast("Any", made)) if f.init}


def dump(config: RunConfig) -> str:
    """The configuration with every default filled in, as TOML that `load` reads back to equal values."""
    import tomli_w

    return tomli_w.dumps(config.as_dict())
