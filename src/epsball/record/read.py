"""A record as typed lines. It is untrusted: every line is checked before anything is made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from epsball.errors import BadFile
from epsball.record.lines import KINDS, Line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from epsball.record.journal import Raw


def typed(lines: Iterable[Raw], path: Path) -> list[Line]:
    """Lines as they stand in a record, checked.

    Raises:
        BadFile: an unknown type, or a malformed line; the message names the file, the line and the field.
    """
    return [_typed(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _typed(raw: Raw, where: str) -> Line:
    kind = KINDS.get(str(raw["type"]))
    if kind is None:
        raise BadFile(
            f"a line of the unknown type {str(raw['type'])[:40]!r} in a run record",
            where=where,
            fix="read it with the version of epsball that wrote it, or leave this run out",
        )
    try:
        return kind.model_validate({name: value for name, value in raw.items() if name != "type"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise BadFile(
            f"a malformed {raw['type']!r} line in a run record: {field}: {first['msg']}",
            where=where,
            fix="leave this run out, or run it again",
        ) from error
