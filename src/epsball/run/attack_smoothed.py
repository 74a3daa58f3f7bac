"""Attacking the smoothed classifier of a trained network on a data set, with one recorded line an example."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig
from epsball.record.journal import Line
from epsball.run.judge import Case, headline, plain
from epsball.run.track import unheard
from epsball.run.written import written
from epsball.smoothing.attack import SmoothPGD
from epsball.smoothing.log import ABSTAINED
from epsball.verification.binomial import clopper_pearson

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.smoothing.core import Smoothed

_COPIES = 256  # noisy copies whose gradient is taken at once


def smooth_assault(
    case: Case, smoothed: Smoothed, attack: SmoothPGD, path: Path | None, progress: Callable[[int, int], None] = unheard
) -> tuple[Line, list[Line]]:
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
    lines: list[Line] = []
    with written(path, "attack", case, attack=plain(attack), noise=repr(smoothed.law)) as append:
        for part in torch.split(case.index, max(1, _COPIES // attack.samples)):
            found = list(_attacked(case, smoothed, attack, part))
            append(*found)
            lines += found
            progress(len(lines), len(case.index))
        summary = _summary(case, smoothed, attack, lines)
        append(summary)
    return summary, lines


def _attacked(case: Case, smoothed: Smoothed, attack: SmoothPGD, index: torch.Tensor) -> Iterator[Line]:
    x, y = case.data.test.inputs(index).to(case.device), case.data.test.y[index].to(case.device)
    numbers, start = index.tolist(), time.perf_counter()
    clean = [p.label for p in smoothed.predict(x, attack.votes, attack.alpha, images=numbers)]
    right = [i for i, label in enumerate(clean) if label == int(y[i])]
    found = attack(smoothed, x[right], y[right], case.eps, images=[numbers[i] for i in right]) if right else None
    seconds = round((time.perf_counter() - start) / len(numbers), 6)
    place = {i: at for at, i in enumerate(right)}
    for i, number in enumerate(numbers):
        line: Line = {
            "type": "smooth-attack",
            "index": number,
            "label": int(y[i]),
            "predicted": clean[i],
            "attacked": i in place,
            "seconds": seconds,
        }
        if found is not None and i in place:
            at = int(found.predicted[place[i]])
            line |= {
                "adversarial": None if at == ABSTAINED else at,
                "success": bool(found.success[place[i]]),
                "distance": float(found.radius[place[i]]),
            }
        yield line


def _summary(case: Case, smoothed: Smoothed, attack: SmoothPGD, lines: list[Line]) -> Line:
    count, tried = len(lines), [line for line in lines if line["attacked"]]
    won = sum(line["success"] for line in tried)
    return {
        "type": "summary",
        "verb": "attack",
        "noise": repr(smoothed.law),
        "sigma": smoothed.law.scale,
        "votes": attack.votes,
        "alpha": attack.alpha,
        "count": count,
        "accuracy": {"clean": _share(len(tried), count), "attacked": _share(len(tried) - won, count)},
        "success": _share(won, len(tried)),
        "abstained": sum(line["predicted"] is None for line in lines) / count,
        "abstained_under_attack": sum(line["adversarial"] is None for line in tried),
        "seconds": sum(line["seconds"] for line in lines),
        **headline(case),
    }


def _share(hits: int, count: int) -> Line:
    """A share with its 95 % interval; of nothing, 0 with an interval of [0, 1]."""
    low, high = clopper_pearson(hits, count)
    return {"value": hits / count if count else 0.0, "low": low, "high": high}
