"""The reference page of the record, made from its lines' models: `python -m epsball.record.page > docs/reference/record.md`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from epsball.record.journal import FORMAT, OLDER
from epsball.record.lines import KINDS
from epsball.record.lines.base import Class, Count, Radius, Share, Size, Status, Values

_HEAD = f"""# The run record

```json
{{"type":"instance","index":7,"label":9,"predicted":9,"status":"verified","by":"ibp","margin":0.31,"bounds":{{"ibp":0.31}},"attacked_margin":0.52,"seconds":0.004}}
```

`record.jsonl` in a run folder: UTF-8, one JSON object a line, strict JSON (NaN and infinities are `null`). The format's
name is `{FORMAT}`. Records of `{OLDER[-1]}`, which had no hashes and counted what is misclassified as
falsified, are read as this version would have written them, and never resumed.

This page is made from the models in `epsball.record.lines` that every line is written by and checked against. A line of another
type, and a field that is not named here, are errors of `epsball report` and `--resume`.

Times are wall seconds. Indices count from 0 in the test set. A `share` is a number in [0, 1]; a `count`, a `class` and a `size` are
whole numbers, a `size` is at least 1. A field with a `?` may be missing.
"""
_TAIL = """
## Reading and writing

::: epsball.record.journal

::: epsball.record.continued

::: epsball.record.read
"""
_NAMED: tuple[tuple[Any, str], ...] = (
    (Share, "share"), (Count, "count"), (Radius, "number ≥ 0"), (Class, "class"), (Size, "size"), (Status, "[status](#status)"),
    (float, "number"), (int, "whole number"), (str, "text"), (bool, "true or false"), (type(None), "null"), (Any, "anything"),
)  # fmt: skip
_SECTION = re.compile(r"\n\nAttributes:\n(?P<rows>.*)", re.DOTALL)
_ROW = re.compile(r"^    (\w+): (.*(?:\n     .*)*)", re.MULTILINE)


def page() -> str:
    """The whole page as Markdown: a table for each type of line, then one for each part that lines have in common."""
    parts = list(dict.fromkeys(part for line in KINDS.values() for part in _parts(line)))
    lines = [_section(f"`{name}`", line, name) for name, line in KINDS.items()]
    common = [_section(part.__name__, part) for part in parts]
    status = f"## status\n\nOne of {', '.join(f'`{name}`' for name in get_args(Status))}.\n"
    return "\n".join((_HEAD, *lines, *common, status)).rstrip("\n") + "\n" + _TAIL


def meanings(model: type[Values]) -> dict[str, str]:
    """What the docstrings of a model and of the models it is made of say of its fields."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        section = _SECTION.search(inspect.cleandoc(base.__doc__ or "")) if issubclass(base, Values) else None
        rows = _ROW.findall(section["rows"]) if section else []
        found.update((name, " ".join(text.split())) for name, text in rows)
    return found


def _section(title: str, model: type[Values], kind: str = "") -> str:
    """A heading, what the model is, and its fields."""
    about, _, _ = inspect.cleandoc(model.__doc__ or "").partition("\n\nAttributes:")
    told, hints = meanings(model), get_type_hints(model, include_extras=True)
    rows = [f"| `type` | `{kind}` | |"] if kind else []
    for name, field in model.model_fields.items():
        missing = "" if field.is_required() else "?"
        rows.append(f"| `{name}`{missing} | {_type(hints[name])} | {told.get(name, '')} |")
    return "\n".join((f"## {title}\n", about + "\n", "| field | type | meaning |", "| --- | --- | --- |", *rows, ""))


def _type(hint: Any) -> str:
    """A type in words; a model is a link to its table."""
    named = next((words for known, words in _NAMED if hint == known), None)
    origin, inside = get_origin(hint), get_args(hint)
    if named or not inside:
        return named or f"[{hint.__name__}](#{hint.__name__.lower()})"
    if origin is Annotated:  # a limit on a list's length, which the page leaves out
        return _type(inside[0])
    prefix = {list: "list of ", dict: "by name: "}.get(origin, "")
    parts = inside[1:] if origin is dict else inside
    return prefix + " or ".join(f"`{part}`" if origin is Literal else _type(part) for part in parts)


def _parts(model: type[Values]) -> Iterator[type[Values]]:
    """The models inside of a model, those inside of them after it."""
    for hint in get_type_hints(model, include_extras=True).values():
        for part in _models(hint):
            yield part
            yield from _parts(part)


def _models(hint: Any) -> Iterator[type[Values]]:
    if isinstance(hint, type) and issubclass(hint, Values):
        yield hint
    for part in get_args(hint):
        yield from _models(part)


if __name__ == "__main__":
    sys.stdout.write(page())
