"""Records of the older format as the present one would have written them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Line = dict[str, Any]


def upgraded(lines: Iterable[Line]) -> list[Line]:
    """The lines of a record of format epsball.run/1, which counted what is misclassified as falsified.

    Its header has no hashes and no code: such a record is read, and never continued.
    """
    return [_RULES.get(str(line.get("type")), _same)(line) for line in lines]


def _same(line: Line) -> Line:
    return line


def _instance(line: Line) -> Line:
    wrong = line.get("status") == "falsified" and line.get("by") == "clean"
    return {**line, "status": "misclassified"} if wrong else line


def _summary(line: Line) -> Line:
    steps, status = line.get("steps"), line.get("status")
    if not isinstance(steps, list) or not isinstance(status, dict):
        return line
    wrong = sum(step["falsified"] for step in steps if step["name"] == "clean")
    new = [
        {**step, "misclassified": step["falsified"], "falsified": 0} if step["name"] == "clean" else {**step, "misclassified": 0}
        for step in steps
    ]
    counts = {**status, "falsified": status.get("falsified", 0) - wrong, "misclassified": wrong}
    return {**line, "steps": new, "status": counts}


_RULES = {"instance": _instance, "summary": _summary}
