"""The commands that a page offers, with what its runs already say about model, data and radius."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epsball.reporting.runs import Story

ATTACK = "epsball attack {model} --data {data} --eps {eps}"
VERIFY = "epsball verify {model} --data {data} --eps {eps}"
_NAMES = re.compile(r"\{(model|data|eps)\}")


def filled(command: str, story: Story) -> str:
    """The command with `{model}`, `{data}` and `{eps}` as the first run has them that tells all three; made up where none does."""
    known = {"model": "MODEL", "data": "mnist", "eps": "0.1"} | _told(story)
    return _NAMES.sub(lambda found: known[found[1]], command)


def _told(story: Story) -> dict[str, str]:
    for run in story.runs:
        if run.summary and run.summary.model and run.summary.eps is not None:
            summary = run.summary
            model = str(run.path.parent) if summary.verb == "train" else summary.model  # a training run names its architecture
            return {"model": shlex.quote(model), "data": shlex.quote(summary.data or "mnist"), "eps": f"{summary.eps:g}"}
    return {}
