"""Attacking a trained network on a data set, with one recorded line an instance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from epsball.device import generator as seeded
from epsball.problem.property import robust
from epsball.record.continued import batches, continued
from epsball.record.lines import InstanceLine, SummaryLine
from epsball.record.origin import described
from epsball.record.rates import rate
from epsball.run.case import Case, headline
from epsball.verification.doubts import warn_near_chance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epsball.attacks.base import Attack


def assault(case: Case, attack: Attack, path: Path | None) -> tuple[SummaryLine, list[InstanceLine]]:
    """Attack a network, and record one line an instance.

    Returns:
        The summary line, and the lines of the instances.
    """
    with continued(path, case.heading("attack", case.described(attack=described(attack)))) as record:
        for batch in batches(case.index.tolist()):
            record.append(*_assaulted(case, attack, batch))
        lines = record.of(InstanceLine)
        summary = _summary(case, lines)
        record.append(summary)
    warn_near_chance(sum(line.by != "clean" for line in lines), len(lines), case.network.classes)
    return summary, lines


def _summary(case: Case, lines: list[InstanceLine]) -> SummaryLine:
    count = len(lines)
    hits = {"clean": sum(line.by != "clean" for line in lines), "attacked": sum(line.status == "unknown" for line in lines)}
    return SummaryLine(
        verb="attack",
        count=count,
        accuracy={name: rate(n, count) for name, n in hits.items()},
        seconds=sum(line.seconds or 0.0 for line in lines),
        **headline(case),
    )


def _assaulted(case: Case, attack: Attack, index: list[int]) -> Iterator[InstanceLine]:
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
        yield InstanceLine(
            index=number,
            label=int(y[i]),
            predicted=int(clean[i]),
            status="misclassified" if wrong else "falsified" if bool(found.success[i]) else "unknown",
            by="clean" if wrong else "attack",
            margin=None,
            bounds={},
            attacked_margin=float(found.margin[i]),
            seconds=round(seconds, 6),
        )
