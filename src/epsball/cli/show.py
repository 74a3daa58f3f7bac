"""`epsball list` and `epsball show`: what has a name, and the options of one."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epsball.cli.common import Output
from epsball.cli.tables import TableForm
from epsball.errors import BadConfig, did_you_mean

if TYPE_CHECKING:
    from epsball.registry import Registry


_SETTINGS = ("setting", "settings")


def _registries() -> dict[str, Registry[Any]]:
    from epsball.attacks.base import attacks
    from epsball.bounding.base import bounders
    from epsball.data.base import sources
    from epsball.models.base import models
    from epsball.ops.elementwise import relaxations
    from epsball.ops.operator import operators
    from epsball.problem.sets.base import sets
    from epsball.reporting.section import sections
    from epsball.smoothing.noises.continuous import noises
    from epsball.smoothing.noises.exact import enumerations
    from epsball.smoothing.statistics.procedures import procedures
    from epsball.training.base import recipes
    from epsball.verification.base import verifiers

    smoothing = (noises, enumerations, procedures)
    every = (attacks, verifiers, bounders, sets, recipes, relaxations, operators, models, sources, *smoothing, sections)
    return {registry.verb: registry for registry in every}


def _registry(kind: str) -> Registry[Any]:
    registries = _registries()
    for verb, registry in registries.items():
        if kind in {verb, registry.kind, verb.rstrip("s")}:
            return registry
    raise BadConfig(f"unknown kind {kind!r}", fix=f"{did_you_mean(kind, registries)} kinds: {', '.join(registries)}".strip())


def list_(
    kind: Annotated[
        str,
        typer.Argument(
            help="attacks, verifiers, bounders, sets, recipes, settings, relaxations, ops, models, data, noises, exact-noises, "
            "procedures or sections."
        ),
    ],
    *,
    output: Output,
) -> None:
    """List what is registered under a kind."""
    verb, entries = _settings() if kind in _SETTINGS else _registered(kind)
    if verb == "ops":
        _operators(entries, output)
        return
    output.result("list", {"kind": verb, "entries": entries})
    output.table("", (verb, "what it is"), list(entries.items()))


def _registered(kind: str) -> tuple[str, dict[str, str]]:
    registry = _registry(kind)
    return registry.verb, {name: _first_line(entry) for name, entry in registry.items()}


def _operators(entries: dict[str, str], output: Output) -> None:
    """Operators with the methods that cover them: a column a method for programs, for people those that do not."""
    from epsball.verification.coverage import coverage

    found = coverage()
    output.result("list", {"kind": "ops", "entries": entries, "methods": found})
    if output.form is not TableForm.TABLE:
        output.table("", ("ops", *next(iter(found.values()))), [(name, *methods.values()) for name, methods in found.items()])
        return
    rows = []
    for name, methods in found.items():
        less = {word: [key for key, value in methods.items() if value == word] for word in ("no", "affine")}
        told = [f"not {', '.join(less['no'])}"] if less["no"] else []
        told += [f"{', '.join(less['affine'])} where all but one argument are constant"] if less["affine"] else []
        rows.append((name, str(sum(value != "no" for value in methods.values())), "; ".join(told)))
    output.table("", ("ops", "methods", f"of {len(next(iter(found.values())))}: which do not cover it"), rows)


def _settings() -> tuple[str, dict[str, str]]:
    from epsball.training.settings import names, text

    return "settings", {name: text(name).split("\n", 1)[0].removeprefix("# ") for name in names()}


def show(
    kind: Annotated[str, typer.Argument(help="attack, verifier, bounder, set, recipe, setting, relaxation, op, model or data.")],
    name: Annotated[str, typer.Argument(help="A name that `epsball list` shows.")],
    *,
    output: Output,
) -> None:
    """Show one entry: what it does, its options and their defaults."""
    if kind in _SETTINGS:
        from epsball.training.settings import text as setting

        output.result("show", {"name": name, "text": setting(name)})
        output.answer(setting(name).rstrip())
        return
    entry = _registry(kind)[name]
    options = _options(entry)
    text = inspect.getdoc(entry if callable(entry) else type(entry)) or ""
    output.result("show", {"name": name, "doc": text, "options": options})
    if output.form is not TableForm.TABLE:
        rows = [*(("doc", line) for line in text.splitlines()), *((f"option {key}", value) for key, value in options.items())]
        output.table("", ("what", "text"), rows)
        return
    output.text(text)
    if options:
        output.table("\noptions", ("option", "default"), list(options.items()))


def _first_line(entry: object) -> str:
    text = inspect.getdoc(entry if callable(entry) else type(entry)) or ""
    return text.split("\n", 1)[0]


def _options(entry: object) -> dict[str, str]:
    if dataclasses.is_dataclass(entry):
        return {field.name: _default(field) for field in dataclasses.fields(entry) if field.init}
    if callable(entry):
        parameters = inspect.signature(entry).parameters.values()
        return {p.name: repr(p.default) for p in parameters if p.default is not inspect.Parameter.empty}
    return {}


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return "required"
