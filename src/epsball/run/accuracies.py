"""What a finished training run is worth: clean and verified accuracy on what it was trained, selected and tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from epsball.device import generator
from epsball.examples import Examples
from epsball.proportion import clopper_pearson
from epsball.record.lines import AccuracyPart, Rate

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.training.config import TrainConfig
    from epsball.training.evaluate import Evaluation, Scores
    from epsball.training.events import Finished

_SAMPLE = 5  # the stream of random numbers that draws training examples


def splits(
    net: Network, last: Finished, test: Examples | None, config: TrainConfig, evaluate: Evaluation
) -> dict[str, AccuracyPart]:
    """The selected model on each part of the data, with 95 % Clopper-Pearson limits.

    Args:
        net: holds the selected weights.
        last: the end of the run.
        test: the test examples, if there are any.
        config: says how many training examples are judged; the sample depends on the run's seed alone.
        evaluate: the judge of every epoch; it is also the judge here.

    Returns:
        "train", then what the epoch was selected on ("validation", or "test" under the protocol of the literature), then "test":
        each with `count`, `of` (of how many), `clean`, `verified` (or `noisy`) and `verifier`. The test set of a run that did not
        select on it is looked at here for the first time.
    """
    sample = _sample(last.trained, config)
    found = {"train": _part(evaluate(net, sample), len(sample), len(last.trained), evaluate.verifier)}
    found[last.split] = _part(last.selected.scores, last.held, last.held, last.verifier)
    if test is not None and "test" not in found:
        there = Examples(test.x.to(sample.x.device), test.y.to(sample.x.device))
        found["test"] = _part(evaluate(net, there), len(there), len(there), evaluate.verifier)
    return found


def interval(share: float, count: int) -> Rate:
    """A share of `count` with its 95 % interval."""
    low, high = clopper_pearson(round(share * count), count)
    return Rate(value=share, low=low, high=high)


def _sample(trained: Examples, config: TrainConfig) -> Examples:
    count = config.certify_train or len(trained)
    if count >= len(trained):
        return trained
    order = torch.randperm(len(trained), generator=generator(torch.device("cpu"), config.seed, _SAMPLE))
    return trained.take(order[:count].to(trained.x.device))


def _part(scores: Scores, count: int, of: int, verifier: str) -> AccuracyPart:
    rates = {name: interval(share, count) for name, share in scores.known().items()}
    return AccuracyPart(**rates, count=count, of=of, verifier=verifier)
