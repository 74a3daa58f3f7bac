"""Averages of the weights along a run, and batch-norm statistics that fit weights no batch has been through.

Averaged weights are judged and selected, never trained on: `Average.put_in` sets them for an evaluation and takes them out again.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from epsball.training.state import copied
from epsball.training.statistics import clean_pass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from epsball.ops.network import Network
    from epsball.training.base import Progress
    from epsball.training.config import TrainConfig
    from epsball.types import Params, Tensor


def population_statistics(net: Network, batches: Iterable[Tensor]) -> Params:
    """Mean and variance of every batch norm over many batches, by the name of the running buffer; empty without batch norm.

    Each batch is normalised by its own statistics on the way, as in training; the variance is that of all values together.

    Args:
        net: with the weights as they are.
        batches: inputs (B, *x), at least one.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    with torch.no_grad():
        for x in batches:
            count += 1
            found = clean_pass(net.plan, net.params(), x, logits=False).statistics
            pairs = zip(list(found)[::2], list(found)[1::2], strict=True)  # mean and variance of each layer, in this order
            for mean, var in pairs:
                for name, value in ((mean, found[mean]), (var, found[var] + found[mean].square())):
                    sums[name] = sums[name] + value if name in sums else value.clone()
    names = list(sums)
    averages = {name: total / count for name, total in sums.items()}
    for mean, var in zip(names[::2], names[1::2], strict=True):
        averages[var] = (averages[var] - averages[mean].square()).clamp(min=0)
    return averages


def write_statistics(net: Network, statistics: Mapping[str, Tensor]) -> None:
    """Set running statistics."""
    params = net.params()
    with torch.no_grad():
        for name, value in statistics.items():
            params[name].copy_(value)


class Average:
    """A run's averaged weights.

    "swa" is the mean of the weights at the ends of the epochs from `average_from` on (Izmailov et al. 2018, arXiv:1803.05407);
    "ema" moves by `1 - ema_decay` towards the weights after each step from then on.

    Attributes:
        weights: by the parameter's name; empty before the average begins.
        count: epochs or steps in it.
    """

    def __init__(self, net: Network, config: TrainConfig, weights: Params | None = None, count: int = 0) -> None:
        self.weights: Params = {} if weights is None else dict(weights)
        self.count = count
        self._module, self._config = net.module, config

    def update(self, at: Progress) -> None:
        """Take the weights after a step in, if they are due."""
        kind, first = self._config.average, round(self._config.average_from * at.per_epoch)
        due = kind == "ema" or (kind == "swa" and at.step % at.per_epoch == 0)
        if not due or at.step < max(first, 1):
            return
        live = {name: p for name, p in self._module.named_parameters() if p.requires_grad}
        self.count += 1
        if not self.weights:
            self.weights = copied(live)
            return
        decay = self._config.ema_decay
        mean = get_ema_multi_avg_fn(decay) if kind == "ema" else get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
        mean([self.weights[name] for name in live], [value.detach() for value in live.values()], self.count - 1)

    @contextlib.contextmanager
    def put_in(self) -> Iterator[None]:
        """The module with the averaged weights inside, and as it was after: buffers too."""
        if not self.weights:
            yield
            return
        before = copied(self._module.state_dict())
        self._module.load_state_dict(self.weights, strict=False)
        try:
            yield
        finally:
            self._module.load_state_dict(before)
