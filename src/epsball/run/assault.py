"""Attacking a trained network on a data set, with one recorded line an instance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from epsball.device import generator as seeded
from epsball.run.folder import RunFolder
from epsball.run.judge import Case, batches, headline, plain, write_header
from epsball.run.record import Line, Record
from epsball.spec.property import robust
from epsball.verification.binomial import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epsball.attacks.base import Attack


def assault(case: Case, attack: Attack, path: Path | None) -> tuple[Line, list[Line]]:
    """Attack a network, and record one line an instance.

    Returns:
        The summary line, and the lines of the instances.
    """
    lines = [line for batch in batches(case.index.tolist()) for line in _assaulted(case, attack, batch)]
    count = len(lines)
    hits = {
        "clean": sum(line["by"] != "clean" for line in lines),
        "attacked": sum(line["status"] != "falsified" for line in lines),
    }
    shares = {
        name: {"value": n / count, "low": low, "high": high}
        for name, n in hits.items()
        for low, high in [clopper_pearson(n, count)]
    }
    summary: Line = {
        "type": "summary",
        "verb": "attack",
        "count": count,
        "accuracy": shares,
        "seconds": sum(line["seconds"] for line in lines),
        **headline(case),
    }
    if path is not None:
        with RunFolder(path) as folder, Record(folder.record) as record:
            write_header(record, "attack", case.described(attack=plain(attack)), case)
            for line in (*lines, summary, {"type": "done"}):
                record.append(line, sync=line.get("type") == "done")
    return summary, lines


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
        seeded(case.device, case.seed, index[0]),
    )
    seconds = (time.perf_counter() - start) / len(index)
    for i, number in enumerate(index):
        wrong = bool(clean[i] != y[i])
        yield {
            "type": "instance",
            "index": number,
            "label": int(y[i]),
            "predicted": int(clean[i]),
            "status": "falsified" if bool(found.success[i]) else "unknown",
            "by": "clean" if wrong else "attack",
            "margin": None,
            "bounds": {},
            "attacked_margin": float(found.margin[i]),
            "seconds": round(seconds, 6),
        }
