"""Attacking the smoothed classifier of a trained network on a data set, with one recorded line an example."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from epsball.errors import BadConfig
from epsball.record.continued import continued
from epsball.record.lines import SmoothAttackLine, SummaryLine
from epsball.record.origin import described
from epsball.record.rates import rate
from epsball.run.case import Case, headline
from epsball.run.track import unheard
from epsball.smoothing.attack import SmoothPGD
from epsball.smoothing.log import ABSTAINED

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.smoothing.core import Smoothed

_COPIES = 256  # noisy copies whose gradient is taken at once


def smooth_assault(
    case: Case, smoothed: Smoothed, attack: SmoothPGD, path: Path | None, progress: Callable[[int, int], None] = unheard
) -> tuple[SummaryLine, list[SmoothAttackLine]]:
    """Attack the smoothed classifier where its PREDICT returns the label, and record one line an example.

    A success is another class than the label by PREDICT on fresh noise; an abstention is none. Each such statement is wrong with
    probability at most the attack's alpha.

    Args:
        case: the base network and the examples; its norm is l2.
        smoothed: the network under its noise.
        attack: whose `votes` and `alpha` judge the clean inputs, too.
        path: of the run folder, or None.
        progress: called with the number of examples done so far and in all.

    Returns:
        The summary line, and the lines of the examples.

    Raises:
        BadConfig: another norm than l2, or a folder that holds something else.
        RunInUse, DiskFull: what was recorded before is whole.
    """
    if case.norm != "l2":
        raise BadConfig(f"a smoothed classifier is attacked in l2, not in {case.norm}", where="--norm", fix="use --norm l2")
    heading = case.heading("attack", case.described(attack=described(attack), noise=repr(smoothed.law)))
    with continued(path, heading) as record:
        for part in torch.split(case.index, max(1, _COPIES // attack.samples)):
            record.append(*_attacked(case, smoothed, attack, part))
            progress(len(record.lines), len(case.index))
        lines = record.of(SmoothAttackLine)
        summary = _summary(case, smoothed, attack, lines)
        record.append(summary)
    return summary, lines


def _attacked(case: Case, smoothed: Smoothed, attack: SmoothPGD, index: torch.Tensor) -> Iterator[SmoothAttackLine]:
    x, y = case.data.test.inputs(index).to(case.device), case.data.test.y[index].to(case.device)
    numbers, start = index.tolist(), time.perf_counter()
    clean = [p.label for p in smoothed.predict(x, attack.votes, attack.alpha, images=numbers)]
    right = [i for i, label in enumerate(clean) if label == int(y[i])]
    found = attack(smoothed, x[right], y[right], case.eps, images=[numbers[i] for i in right]) if right else None
    seconds = round((time.perf_counter() - start) / len(numbers), 6)
    place = {i: at for at, i in enumerate(right)}
    for i, number in enumerate(numbers):
        told: dict[str, Any] = {}
        if found is not None and i in place:
            at = int(found.predicted[place[i]])
            told = {
                "adversarial": None if at == ABSTAINED else at,
                "success": bool(found.success[place[i]]),
                "distance": float(found.radius[place[i]]),
            }
        yield SmoothAttackLine(index=number, label=int(y[i]), predicted=clean[i], attacked=i in place, seconds=seconds, **told)


def _summary(case: Case, smoothed: Smoothed, attack: SmoothPGD, lines: list[SmoothAttackLine]) -> SummaryLine:
    count, tried = len(lines), [line for line in lines if line.attacked]
    won = sum(line.success for line in tried)
    return SummaryLine(
        verb="attack",
        noise=repr(smoothed.law),
        sigma=smoothed.law.scale,
        votes=attack.votes,
        alpha=attack.alpha,
        count=count,
        accuracy={"clean": rate(len(tried), count), "attacked": rate(len(tried) - won, count)},
        success=rate(won, len(tried)),
        abstained=sum(line.predicted is None for line in lines) / count,
        abstained_under_attack=sum(line.adversarial is None for line in tried),
        seconds=sum(line.seconds or 0.0 for line in lines),
        **headline(case),
    )
