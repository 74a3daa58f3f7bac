"""Certified training accuracy beside test accuracy: the right examples, the right weights, the right limits, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from epsball.cli.common import Output
from epsball.cli.results import show_results
from epsball.cli.tables import TableForm
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.lines import AccuracyPart, SummaryLine
from epsball.record.lines.summary import Selection
from epsball.run.accuracies import interval, splits
from epsball.run.seeds import summarise
from epsball.training.base import Recipe
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy, Scores
from epsball.training.events import Finished
from epsball.training.loop import fit
from epsball.training.state import Selected


def _net() -> Network:
    """Class 1 where the one input exceeds a half; a ball of 0.1 is proven where the input lies 0.1 from a half."""
    layer = nn.Linear(1, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0], [1.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    return Network.capture(layer, (1,))


def _finished(trained: Examples, split: str) -> Finished:
    return Finished(Selected(3, 30, 0.75, 0.5, {}), 8, split, "ibp", 1.0, trained)


X = torch.tensor([[0.1], [0.45], [0.55], [0.9]])
Y = torch.tensor([0, 0, 1, 0])  # proven, right, right, wrong


def test_train_and_test_are_judged_and_the_selection_is_kept():
    found = splits(_net(), _finished(Examples(X, Y), "validation"), Examples(X[:2], Y[:2]), TrainConfig(), IbpAccuracy(0.1))
    assert list(found) == ["train", "validation", "test"]
    want = AccuracyPart(clean=interval(0.75, 4), verified=interval(0.25, 4), count=4, of=4, verifier="ibp")
    assert found["train"] == want
    assert (found["validation"].clean.value, found["validation"].count) == (0.75, 8)
    assert (found["test"].clean.value, found["test"].verified.value) == (1.0, 0.5)


def test_a_test_set_that_was_selected_on_is_not_judged_again():
    asked = []

    class Spy:
        verifier = "spy"

        def __call__(self, net, data):
            asked.append(len(data))
            return Scores(1.0, 0.0)

    found = splits(_net(), _finished(Examples(X, Y), "test"), Examples(X[:2], Y[:2]), TrainConfig(), Spy())
    assert asked == [4]
    assert list(found) == ["train", "test"]
    assert (found["test"].count, found["train"].verifier) == (8, "spy")


@pytest.mark.parametrize(("wanted", "judged"), [(5, 5), (0, 40), (1000, 40)])
def test_the_sample_is_drawn_once_for_a_seed(wanted, judged):
    trained = Examples(torch.arange(40.0)[:, None] / 40, torch.zeros(40, dtype=torch.int64))
    seen = []

    class Spy:
        verifier = "spy"

        def __call__(self, net, data):
            seen.append(data.x.flatten().tolist())
            return Scores(1.0, 0.0)

    for seed in (0, 0, 1):
        splits(_net(), _finished(trained, "validation"), None, TrainConfig(certify_train=wanted, seed=seed), Spy())
    assert len(set(seen[0])) == judged
    assert seen[0] == seen[1]
    assert (seen[0] == seen[2]) == (judged == 40)


def test_a_negative_sample_is_refused():
    with pytest.raises(BadConfig, match="certify_train"):
        TrainConfig(certify_train=-1)


class _Still(Recipe):
    """Trains nothing."""

    def loss(self, net, batch, at):
        from epsball.training.base import Loss

        return Loss(sum((p * 0).sum() for p in net.module.parameters()))


def test_the_loop_hands_over_exactly_what_it_trained_on():
    data = Examples(torch.arange(50.0)[:, None] / 50, torch.arange(50) % 2)
    config = TrainConfig(epochs=1, batch=5, validation=0.2)
    *_, last = fit(_net(), _Still(), data, config, IbpAccuracy(0.0, None))
    assert (len(last.trained), last.held) == (40, 10)
    assert set(last.trained.x.flatten().tolist()) < set(data.x.flatten().tolist())


def _run(verified: float, count: int = 8, split: str = "validation") -> SummaryLine:
    parts = splits(_net(), _finished(Examples(X, Y), split), None, TrainConfig(), IbpAccuracy(0.1))
    rate = parts[split].verified.model_copy(update={"value": verified})
    parts[split] = parts[split].model_copy(update={"verified": rate})
    return SummaryLine(
        verb="train", model="m", data="d", epochs=4, examples=4, protocol="validation", split=split, count=count, eps=0.1,
        norm="linf", accuracy={"clean": parts[split].clean, "verified": rate}, selected=Selection(epoch=3, step=30),
        verified_by={"ibp": rate}, splits=parts, seconds=1.0,
    )  # fmt: skip


def test_seeds_have_a_mean_and_a_deviation_on_each_part():
    found = summarise({0: _run(0.5), 1: _run(0.7)}, 2.0)
    part = found.splits["validation"]
    assert part.verified.value == pytest.approx(0.6)
    assert part.verified.std == pytest.approx(0.2 / 2**0.5)
    assert (found.splits["train"].verified.value, found.splits["train"].of) == (0.25, 4)
    old = _run(0.7).model_copy(update={"splits": {}})  # a run from before parts were kept
    assert summarise({0: _run(0.5), 1: old}, 2.0).splits == {}


def test_the_table_names_verifier_protocol_and_every_part(capsys):
    show_results(Output(shape=TableForm.TABLE, quiet=True), Path("r"), _run(0.5))
    text = capsys.readouterr().out
    for wanted in ("verified by ibp", "train", "validation", "protocol validation: epoch 3 of 4", "75.00 [", "next:"):
        assert wanted in text
    show_results(Output(shape=TableForm.TABLE, quiet=True), Path("r"), summarise({0: _run(0.5), 1: _run(0.7)}, 2.0))
    text = capsys.readouterr().out
    assert "60.00 +- 14.14" in text
    assert "standard deviation of 2 runs" in text
