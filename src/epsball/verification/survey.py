"""A verifier over a data set: one line an instance, and the headline inequality of all of them.

    verified accuracy  <=  true robust accuracy  <=  attacked accuracy  <=  clean accuracy

The lines are those of a run record; see `epsball.record.lines`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from epsball.attacks.untouched import untouched
from epsball.errors import BadConfig, BadShape
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.record.lines import InstanceLine, WitnessLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from epsball.ops.network import Network
    from epsball.problem.sets import InputSet
    from epsball.types import Tensor
    from epsball.verification.base import Verdict, Verifier

Batch = tuple["Tensor", "Tensor", "Tensor"]  # indices (B,), inputs (B, *x) as floats, labels (B,)


def survey(
    network: Network,
    batches: Iterable[Batch],
    ball: Callable[[Tensor], InputSet],
    verifier: Verifier,
    budget: Budget | None = None,
    *,
    dtype: torch.dtype | None = None,
    witnesses: int = 12,
) -> Iterator[InstanceLine | WitnessLine]:
    """Is each input's label kept on its whole set? Lines appear batch by batch, so that what is known is never lost.

    Args:
        network: the captured network; predictions and witnesses are evaluated on its module.
        batches: indices (B,) in the data set, inputs (B, *x) as floats, labels (B,).
        ball: inputs to their sets, such as `lambda x: LpBall(x, 0.1, clip=(0.0, 1.0))`.
        verifier: decides, such as `Ladder()`; attacks and witnesses are those of the network's module.
        budget: what may be spent on one instance; a batch may spend the seconds of all its instances. None is without limit.
        dtype: arithmetic of the bounds; None is the parameters' own.
        witnesses: at most so many lines of type "witness", with whole inputs, for the first attacks that succeed.

    Yields:
        Lines of type "instance", each followed by its line of type "witness" if it has one.

    Raises:
        BadShape, BadData: inputs, labels and network do not fit together.
    """
    prepared, budget = network.prepare(dtype), budget or Budget()
    left = witnesses
    for index, x, y in batches:
        if not len(index) == len(x) == len(y):
            raise BadShape(f"a batch of {len(index)} indices, {len(x)} inputs and {len(y)} labels", fix="give one of each a sample")
        if len(index) == 0:
            continue
        x_there, y_there = x.to(prepared.device, prepared.dtype), y.to(prepared.device)
        problem = Problem(prepared, ball(x_there), robust(y_there, network.classes, prepared.dtype), network.module)
        predicted = _predict(network, x_there)
        verdicts = verifier(problem, replace(budget, seconds=budget.seconds * len(index)))
        for i, verdict in enumerate(verdicts):
            line = _instance(int(index[i]), int(y[i]), int(predicted[i]), verdict)
            yield line
            if left > 0 and verdict.witness is not None and verdict.status != "misclassified":
                left -= 1
                yield _witness(line, x_there[i], verdict)


def shard(indices: Sequence[int], part: int, parts: int) -> list[int]:
    """Every `parts`-th index from `part` on: shards of equal size whatever the order of the data.

    Raises:
        BadConfig: part is not one of 0..parts-1.
    """
    if not 0 <= part < parts:
        raise BadConfig(f"no shard {part}/{parts}", fix="give i/n with 0 <= i < n")
    return list(indices[part::parts])


def _predict(network: Network, x: Tensor) -> Tensor:
    like = next((p for p in network.module.parameters() if p.is_floating_point()), x)
    with untouched(network.module), torch.no_grad():
        predicted: Tensor = network.module(x.to(like.device, like.dtype)).argmax(1)
        return predicted


def _instance(index: int, label: int, predicted: int, verdict: Verdict) -> InstanceLine:
    exact = {one.method: one.exact for one in verdict.evidence if one.exact is not None}
    told: dict[str, Any] = ({"exact": exact} if exact else {}) | ({"note": verdict.note} if verdict.note else {})
    return InstanceLine(
        index=index,
        label=label,
        predicted=predicted,
        status=verdict.status,
        by=verdict.method,
        margin=verdict.margin,
        bounds=dict(verdict.proven),
        attacked_margin=verdict.found,
        seconds=round(verdict.seconds, 6),
        times={one.method: round(one.seconds, 6) for one in verdict.evidence},
        **told,
    )


def _witness(line: InstanceLine, x: Tensor, verdict: Verdict) -> WitnessLine:
    if verdict.witness is None:
        raise ValueError("a verdict without a witness")
    return WitnessLine(
        index=line.index,
        label=line.label,
        predicted=int(verdict.witness.y.argmax()),
        shape=list(x.shape),
        x=[round(v, 5) for v in x.flatten().tolist()],
        adversarial=[round(v, 5) for v in verdict.witness.x.flatten().tolist()],
        margin=line.attacked_margin,
    )
