"""The last section of every report: what is needed to run it again."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.record.lines import HeaderLine
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epsball.reporting.runs import Run, Story


@sections.register("reproduce")
@dataclass(frozen=True)
class ReproduceSection(Section):
    """Command, hashes, machine and configuration of every record."""

    title: str = "Run it again"
    short: str = "Reproduce"
    place: int = 9000
    missing: str = "No run."
    command: str = "epsball demo"

    def content(self, story: Story) -> Content:
        return given(
            reproduce=[
                (run, shlex.join(run.header.command), _hashes(run), _flat(run.header.config))
                for whole in story.runs
                for run in whole.records
            ]
        )


def _flat(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A configuration as lines `a.b = value`, ordered as it was resolved."""
    found: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
    return found


def _hashes(run: Run) -> list[tuple[str, str]]:
    """What the run is of: the hashes of its header, and the code of each that began or resumed it."""
    found = [(name.capitalize(), value) for name, value in run.header.identity.items() if value is not None]
    return found + [("Code", _code(header.code)) for header in run.of(HeaderLine) if header.code]


def _code(code: Mapping[str, str | bool | None]) -> str:
    commit = f" at commit {code.get('commit')}{' with changes' if code.get('changed') else ''}" if code.get("commit") else ""
    return f"{code.get('version')}{commit}, sources {code.get('sources')}"
