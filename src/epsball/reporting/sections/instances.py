"""The section of single inputs: a table that the page's script filters, sorts and turns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epsball.record.lines import STATUSES
from epsball.reporting.commands import VERIFY
from epsball.reporting.csv import Sheet
from epsball.reporting.pictures import pictured
from epsball.reporting.section import Content, Section, given, sections

if TYPE_CHECKING:
    from epsball.reporting.runs import Run, Story


@sections.register("instances")
@dataclass(frozen=True)
class InstancesSection(Section):
    """Every input with its verdict."""

    title: str = "Every input"
    short: str = "Inputs"
    place: int = 500
    missing: str = "No single inputs in these runs."
    command: str = VERIFY

    def content(self, story: Story) -> Content:
        listed = [run for run in story.judged if run.instances]
        return given(
            listed=[(run, _sheet(run)) for run in listed],
            data=_as_json({run.id: _instances(run) for run in listed}) if listed else "",
        )


def _as_json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _instances(run: Run) -> dict[str, Any]:
    """Single inputs in columns that are short to store: names once, numbers with six digits."""
    lines = run.instances
    steps = list(dict.fromkeys(line.by for line in lines))
    methods = list(dict.fromkeys(name for line in lines for name in line.bounds))
    rows = [
        [
            line.index,
            line.label,
            line.predicted,
            STATUSES.index(line.status),
            steps.index(line.by),
            *(_digits(v) for v in (line.margin, line.attacked_margin, line.seconds, *(line.bounds.get(m) for m in methods))),
        ]
        for line in lines
    ]
    shown = [witness.index for witness in pictured(run)]
    notes = {line.index: line.note for line in lines if line.note}
    return {"statuses": STATUSES, "steps": steps, "methods": methods, "rows": rows, "witnesses": shown, "notes": notes}


def _sheet(run: Run) -> Sheet:
    """Every input with all digits: for an export, since the page's own script makes its link."""
    methods = list(dict.fromkeys(name for line in run.instances for name in line.bounds))
    columns = ("input", "label", "predicted", "status", "by", "margin", "attacked_margin", "seconds", *methods)
    rows = tuple(
        (
            *(line.index, line.label, line.predicted, line.status, line.by, line.margin, line.attacked_margin, line.seconds),
            *(line.bounds.get(name) for name in methods),
        )
        for line in run.instances
    )
    return Sheet(f"inputs-{run.id}.csv", columns, rows)


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
