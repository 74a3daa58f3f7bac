"""Attacking a trained network on a data set, with one recorded line an instance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from epsball.device import generator as seeded
from epsball.problem.property import robust
from epsball.record.journal import Line
from epsball.run.judge import Case, batches, headline, plain
from epsball.run.written import written
from epsball.verification.binomial import clopper_pearson
from epsball.verification.doubts import warn_near_chance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epsball.attacks.base import Attack


def assault(case: Case, attack: Attack, path: Path | None) -> tuple[Line, list[Line]]:
    """Attack a network, and record one line an instance.

    Returns:
        The summary line, and the lines of the instances.
    """
    with written(path, "attack", case, attack=plain(attack)) as append:
        lines: list[Line] = []
        for batch in batches(case.index.tolist()):
            found = list(_assaulted(case, attack, batch))
            append(*found)
            lines += found
        summary = _summary(case, lines)
        append(summary)
    warn_near_chance(sum(line["by"] != "clean" for line in lines), len(lines), case.network.classes)
    return summary, lines


def _summary(case: Case, lines: list[Line]) -> Line:
    count = len(lines)
    hits = {
        "clean": sum(line["by"] != "clean" for line in lines),
        "attacked": sum(line["status"] == "unknown" for line in lines),
    }
    shares = {
        name: {"value": n / count, "low": low, "high": high}
        for name, n in hits.items()
        for low, high in [clopper_pearson(n, count)]
    }
    return {
        "type": "summary",
        "verb": "attack",
        "count": count,
        "accuracy": shares,
        "seconds": sum(line["seconds"] for line in lines),
        **headline(case),
    }


def _assaulted(case: Case, attack: Attack, index: list[int]) -> Iterator[Line]:
    chosen = torch.tensor(index)
    x, y = (t.to(case.device) for t in (case.data.test.inputs(chosen), case.data.test.y[chosen]))
    start = time.perf_counter()
    with torch.no_grad():
        clean = case.network.module(x).argmax(1)
    found = attack(
        case.network.module,
        case.ball(x, chosen),
        robust(y, case.network.classes, x.dtype),
        seeded(case.device, case.seed),
    )
    seconds = (time.perf_counter() - start) / len(index)
    for i, number in enumerate(index):
        wrong = bool(clean[i] != y[i])
        yield {
            "type": "instance",
            "index": number,
            "label": int(y[i]),
            "predicted": int(clean[i]),
            "status": "misclassified" if wrong else "falsified" if bool(found.success[i]) else "unknown",
            "by": "clean" if wrong else "attack",
            "margin": None,
            "bounds": {},
            "attacked_margin": float(found.margin[i]),
            "seconds": round(seconds, 6),
        }
