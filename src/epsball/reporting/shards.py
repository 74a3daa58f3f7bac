"""Shards of one run put together: one headline over all of them, or a refusal that names what does not fit."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from epsball.errors import BadConfig
from epsball.proportion import lower_bound, upper_bound
from epsball.record.lines import STATUSES, CertificateLine, HeaderLine, InstanceLine, Rate, StepTally, SummaryLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epsball.reporting.runs import Run

_BROKEN = ("misclassified", "falsified")
_FIX = "report the shards of one run together, each once; make the others again"


def merged(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, with the shards of each case in place of the first of them.

    Raises:
        BadConfig: shards of one case that are of different networks, properties, data, precisions or code, or that overlap.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_case(run), []).append(run)
    return tuple(_together(group) if group[0].shard else group[0] for group in groups.values())


def _case(run: Run) -> str:
    """What shards of one run have in common by their options; a run that is no shard is alone."""
    if run.shard is None:
        return run.id
    config = {k: v for k, v in run.header.config.items() if k not in ("index", "data_digest", "shard", "smoothing")}
    smoothing = {k: v for k, v in (run.header.config.get("smoothing") or {}).items() if k != "model"}
    _, parts, index = run.shard
    return json.dumps([run.header.verb, config, smoothing, run.header.seed, parts, index], sort_keys=True)


def _together(group: list[Run]) -> Run:
    group = sorted(group, key=lambda run: run.shard or (0, 0, ""))
    for one, other in pairwise(group):
        _check(one, other)
    names = [run.name for run in group]
    name = " + ".join(names) if len(names) <= 4 else f"{names[0]} + {len(names) - 1} more"
    lines = [line for run in group for line in run.lines if not isinstance(line, (HeaderLine, SummaryLine))]
    kept = [line for line in lines if not isinstance(line, InstanceLine)]
    instances = [line for run in group for line in run.instances]
    _check_apart(group)
    summary = _summary(group, instances)
    every = (group[0].header, *instances, *kept, *([] if summary is None else [summary]))
    return replace(group[0], name=name, lines=every, done=all(run.done for run in group), parts=tuple(group))


def _check(one: Run, other: Run) -> None:
    """Two shards of one case are of the same network, property, data set, precision and code."""
    two = _hashes(one), _hashes(other)
    differ = [name for name in two[0] if two[0][name] != two[1].get(name)]
    if differ:
        told = "; ".join(f"{name} {str(two[0][name])[:12]} and {str(two[1].get(name))[:12]}" for name in differ)
        raise BadConfig(
            f"two shards of one case do not belong together: {told}", where=f"{one.path.parent} and {other.path.parent}", fix=_FIX
        )
    if one.shard == other.shard:
        raise BadConfig(
            f"shard {one.header.config['shard']['part']} was given twice",
            where=f"{one.path.parent} and {other.path.parent}",
            fix=_FIX,
        )


def _hashes(run: Run) -> dict[str, Any]:
    """Of the whole case: a shard's slice of the data is its own."""
    whole = {name: value for name, value in run.header.identity.items() if name != "data"}
    own = (run.header.config.get("smoothing") or {}).get("model")  # with a denoiser in front of it
    return {**whole, "data": run.header.config.get("data_digest"), "code": run.header.code.get("sources"), "smoothed": own}


def _check_apart(group: Sequence[Run]) -> None:
    seen: dict[int, Run] = {}
    for run in group:
        for index in {*(line.index for line in run.of(InstanceLine)), *(line.index for line in run.of(CertificateLine))}:
            if index in seen:
                raise BadConfig(
                    f"two shards hold example {index}", where=f"{seen[index].path.parent} and {run.path.parent}", fix=_FIX
                )
            seen[index] = run


def _summary(group: Sequence[Run], instances: Sequence[InstanceLine]) -> SummaryLine | None:
    """One summary, its shares counted again from the instances; None where no shard has come to an end."""
    found = [run.summary for run in group if run.summary is not None]
    if not found:
        return None
    whole = found if len(found) == len(group) else []
    count = len(instances) if instances else sum(len({line.index for line in run.of(CertificateLine)}) for run in group)
    status = Counter(line.status for line in instances)
    return found[0].model_copy(
        update={
            "count": count,
            "accuracy": _accuracy(instances),
            "verified_by": _by_method(whole, count),
            "steps": _steps(whole),
            "status": {name: status[name] for name in STATUSES} if instances else {},
            "seconds": sum(summary.seconds or 0.0 for summary in found),
            "abstained": None,
            "average_radius": {},
        }
    )


def _accuracy(instances: Sequence[InstanceLine]) -> dict[str, Rate]:
    if not instances:
        return {}
    right = [line for line in instances if line.predicted == line.label]
    counts = {
        "clean": len(right),
        "attacked": sum(line.status not in _BROKEN for line in right),
        "verified": sum(line.status == "verified" for line in instances),
    }
    return {name: _rate(hits, len(instances)) for name, hits in counts.items()}


def _by_method(summaries: Sequence[SummaryLine], count: int) -> dict[str, Rate]:
    """Methods that every shard tells of by themselves."""
    first = summaries[0].verified_by if summaries else {}
    names = [name for name in first if all(name in summary.verified_by for summary in summaries)]
    hits = {name: sum(round(s.verified_by[name].value * (s.count or 0)) for s in summaries) for name in names}
    return {name: _rate(number, count) for name, number in hits.items()}


def _steps(summaries: Sequence[SummaryLine]) -> list[StepTally]:
    """The ladder's steps, in the order of the shard that took the most of them."""
    ordered = sorted((summary.steps for summary in summaries), key=len, reverse=True)
    names = dict.fromkeys(step.name for steps in ordered for step in steps)
    return [_sum(name, [step for steps in ordered for step in steps if step.name == name]) for name in names]


def _sum(name: str, steps: Sequence[StepTally]) -> StepTally:
    return StepTally(
        name=name,
        settled=sum(step.settled for step in steps),
        verified=sum(step.verified for step in steps),
        misclassified=sum(step.misclassified for step in steps),
        falsified=sum(step.falsified for step in steps),
        seconds=sum(step.seconds or 0.0 for step in steps),
    )


def _rate(hits: int, count: int) -> Rate:
    return Rate(value=hits / count, low=lower_bound(hits, count, 0.025), high=upper_bound(hits, count, 0.025))
