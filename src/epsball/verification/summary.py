"""What a survey's lines amount to. Unknown, timeout and error stay apart, and are never counted as an answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from epsball.errors import BadData, Unsound
from epsball.record.lines import STATUSES, InstanceLine, Line, SummaryLine
from epsball.record.lines.summary import StepTally
from epsball.record.rates import rate
from epsball.verification.soundness import CONTRADICTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def summarise(lines: Iterable[Line], **told: Any) -> SummaryLine:
    """The summary line of the instances among some lines; other lines are passed over.

    Accuracies are shares of all instances with exact 95 % intervals (Clopper and Pearson). "verified" is the union of all methods;
    `verified_by` has a method only if it was tried wherever it could have proven something: a ladder leaves out its later steps,
    unless they run everywhere.

    Args:
        lines: of a survey; shards may follow each other in any order.
        **told: more fields of the summary, such as the model and the data.

    Raises:
        BadData: an index occurs twice, or there is no instance.
        Unsound: an instance is verified though misclassified or attacked, or falsified though proven; or
            verified <= attacked <= clean does not hold.
    """
    found = [line for line in lines if isinstance(line, InstanceLine)]
    _check_indices(found)
    for line in found:
        _check_instance(line)
    right = [line for line in found if line.predicted == line.label]
    counts = {
        "clean": len(right),
        "attacked": sum(line.status not in ("misclassified", "falsified") for line in right),  # a tie is both right and broken
        "verified": sum(line.status == "verified" for line in found),
    }
    if not counts["verified"] <= counts["attacked"] <= counts["clean"]:
        raise Unsound(f"verified <= attacked <= clean does not hold: {counts}", fix="report this as a defect of epsball")
    status = Counter(line.status for line in found)
    return SummaryLine(
        verb="verify",
        count=len(found),
        accuracy={name: rate(count, len(found)) for name, count in counts.items()},
        verified_by={method: rate(count, len(found)) for method, count in _by_method(found).items()},
        steps=_steps(found),
        status={name: status[name] for name in STATUSES},
        seconds=sum(line.seconds or 0.0 for line in found),
        **told,
    )


def _check_indices(lines: Sequence[InstanceLine]) -> None:
    twice = [index for index, count in Counter(line.index for line in lines).items() if count > 1]
    if twice:
        raise BadData(f"{len(twice)} instances occur twice, the first is index {twice[0]}", fix="give each shard once")
    if not lines:
        raise BadData("there is no instance to summarise", fix="verify at least one input")


def _check_instance(line: InstanceLine) -> None:
    """No line may contradict itself, wherever it was written."""
    attacked = line.attacked_margin
    bounds = {m: v for m, v in line.bounds.items() if v is not None}
    proven = {m: v for m, v in bounds.items() if v > 0}
    what = None
    if line.status == "verified" and line.predicted != line.label:
        what = "is verified, but misclassified without any perturbation"
    elif line.status == "verified" and not any(v > 0 for v in bounds.values()):
        what = "is verified, but no method proves it"
    elif proven and attacked is not None and attacked < 0 and not line.note.startswith(CONTRADICTION):
        what = f"has an attack with margin {attacked:.6g} and proofs of margins {proven}"
    if what:
        raise Unsound(f"instance {line.index} {what}", fix="report this as a defect of epsball")


def _by_method(lines: Sequence[InstanceLine]) -> dict[str, int]:
    """Instances that each method proves by itself, for the methods that saw every instance that is open to proof."""
    open_ = [line for line in lines if line.status in ("verified", "unknown")]
    methods = dict.fromkeys(m for line in lines for m in line.bounds)
    return {
        method: sum((line.bounds.get(method) or 0.0) > 0 for line in lines if line.status == "verified")
        for method in methods
        if all(method in line.bounds for line in open_)
    }


def _steps(lines: Sequence[InstanceLine]) -> list[StepTally]:
    """How many instances each step settled, in the order in which steps were tried, and what all its trials took."""
    longest_first = sorted((line.times for line in lines), key=len, reverse=True)
    names = dict.fromkeys(step for times in longest_first for step in times)
    result = []
    for name in names:
        settled = Counter(line.status for line in lines if line.by == name)
        result.append(
            StepTally(
                name=name,
                settled=settled["verified"] + settled["misclassified"] + settled["falsified"],
                verified=settled["verified"],
                misclassified=settled["misclassified"],
                falsified=settled["falsified"],
                seconds=sum(line.times.get(name) or 0.0 for line in lines),
            )
        )
    return result
