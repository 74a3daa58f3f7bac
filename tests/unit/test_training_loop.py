"""The loop: events, selection, exact resumption, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig, BadData, BadFile, BadShape
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.training.base import Batch, Diverged, Loss, Progress
from epsball.training.config import TrainConfig
from epsball.training.evaluate import Evaluation, IbpAccuracy, Scores
from epsball.training.events import Epoch, Finished, Metrics, Stepped
from epsball.training.loop import Census, fit
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.standard import Standard
from epsball.training.state import TrainState

CONFIG = TrainConfig(epochs=4, batch=10, lr=1e-2, log_every=4, checkpoint_every=3, seed=1, validation=0.2)


@cache
def network(width: int = 8) -> Network:
    """Captured once: every run sets all weights and buffers anew."""
    layers = [nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 3)]
    return Network.capture(nn.Sequential(*layers), (6,))


def examples(count: int = 100) -> Examples:
    y = torch.arange(count) % 3
    x = torch.rand(count, 6, generator=torch.Generator().manual_seed(0)) * 100
    x[torch.arange(count), y] += 100
    return Examples(x.to(torch.uint8), y)


@dataclass(frozen=True)
class Scripted(Evaluation):
    """Scores that are known beforehand, by call."""

    scores: tuple[tuple[float, float], ...]
    calls: list[int]

    @property
    def verifier(self) -> str:
        return "scripted"

    def __call__(self, _net: Network, data: Examples) -> Scores:
        self.calls.append(len(data))
        return Scores(*self.scores[len(self.calls) - 1])


@pytest.mark.slow
def test_events_of_a_run() -> None:
    net = network()
    events = list(fit(net, IbpTraining(0.05, warmup=1, ramp=1), examples(), CONFIG, IbpAccuracy(0.05)))
    steps = [e.step for e in events if isinstance(e, Stepped)]
    assert steps == list(range(1, 33))
    assert [e.step for e in events if isinstance(e, Stepped) and e.due] == sorted({*range(3, 33, 3), 8, 16, 24, 32})
    metrics = [e for e in events if isinstance(e, Metrics)]
    assert [m.step for m in metrics] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert metrics[0].eps == 0.0
    assert set(metrics[0].parts) == {"natural"}
    assert metrics[-1].eps == 0.05
    assert set(metrics[-1].parts) == {"natural", "robust"}
    assert metrics[-1].loss == pytest.approx(sum(metrics[-1].parts.values()) / 2)
    assert metrics[-1].loss < metrics[0].loss
    epochs = [e for e in events if isinstance(e, Epoch)]
    assert [(e.epoch, e.step, e.split, e.verifier) for e in epochs] == [(i, 8 * i, "validation", "ibp") for i in (1, 2, 3, 4)]
    assert epochs[-1].scores.clean > 0.8
    assert [layer.name for layer in next(e for e in events if isinstance(e, Census)).layers] == ["2"]
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.held == 20


def test_the_best_epoch_is_chosen_at_the_full_radius_only() -> None:
    scores = ((0.9, 0.9), (0.5, 0.3), (0.6, 0.3), (0.6, 0.3))
    judge = Scripted(scores, [])
    net = network()
    events = list(fit(net, IbpTraining(0.05, warmup=1, ramp=1), examples(), CONFIG, judge))
    assert [e.best for e in events if isinstance(e, Epoch)] == [False, True, True, False]
    last = events[-1]
    assert (last.selected.epoch, last.selected.verified, last.selected.clean) == (3, 0.3, 0.6)
    assert judge.calls == [20] * 4
    for name, tensor in net.module.state_dict().items():
        assert torch.equal(tensor, last.selected.model[name]), "the module ends with the selected weights"


def test_held_out_examples_are_never_trained_on() -> None:
    seen = []

    @dataclass(frozen=True)
    class Spy(Standard):
        def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
            seen.append(batch.x)
            return super().loss(net, batch, at)

    data = Examples(torch.arange(100.0)[:, None].expand(-1, 6) / 100, torch.arange(100) % 3)
    held = []

    class Judge(Evaluation):
        def __call__(self, net: Network, part: Examples) -> Scores:
            held.append(part.x[:, 0])
            return Scores(0.5, 0.5)

    list(fit(network(), Spy(), data, CONFIG, Judge()))
    trained = set(torch.cat(seen)[:, 0].tolist())
    assert len(trained) == 80
    assert trained.isdisjoint(held[0].tolist())
    assert all(torch.equal(held[0], other) for other in held)
    per_epoch = [torch.cat(seen[i : i + 8])[:, 0] for i in (0, 8)]
    assert per_epoch[0].sort().values.equal(per_epoch[1].sort().values)
    assert not per_epoch[0].equal(per_epoch[1]), "each epoch has its own order"


def test_the_protocol_of_the_literature_says_so() -> None:
    config = replace(CONFIG, protocol="literature", epochs=1)
    test = examples(30)
    events = list(fit(network(), Standard(), examples(), config, IbpAccuracy(0.0), test=test))
    assert next(e for e in events if isinstance(e, Epoch)).split == "test"
    assert events[-1].held == 30
    assert sum(isinstance(e, Stepped) for e in events) == 10
    with pytest.raises(BadConfig, match="none was given"):
        fit(network(), Standard(), examples(), config, IbpAccuracy(0.0))


RECIPES = [Standard(), IbpTraining(0.05, warmup=1, ramp=1), FastIbp(0.05, warmup=0.5, ramp=1.5)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_goes_on_bit_for_bit(recipe, optimizer: str) -> None:
    config = replace(CONFIG, optimizer=optimizer, milestones=(2,))
    expected = list(fit(network(), recipe, examples(), config, IbpAccuracy(0.05)))[-1]
    whole = {name: tensor.clone() for name, tensor in network().module.state_dict().items()}
    state = None
    for stop in (3, 8, 13, 32):
        net, packed = network(), None
        torch.manual_seed(99)  # whatever happened in between
        for event in fit(net, recipe, examples(), config, IbpAccuracy(0.05), state=state):
            if isinstance(event, Stepped) and event.step == stop:
                packed = event.snapshot().pack()
                break
        assert packed is not None
        state = TrainState.unpack(*packed, "memory")
        assert state.step == stop
    net = network()
    last = list(fit(net, recipe, examples(), config, IbpAccuracy(0.05), state=state))[-1]
    assert last.selected.epoch == expected.selected.epoch
    for name, tensor in whole.items():
        assert torch.equal(tensor, net.module.state_dict()[name]), name


def test_a_snapshot_does_not_change_when_the_run_goes_on() -> None:
    events = fit(network(), Standard(), examples(), CONFIG, IbpAccuracy(0.0))
    first = next(e for e in events if isinstance(e, Stepped)).snapshot()
    kept = {name: tensor.clone() for name, tensor in first.pack()[0].items()}
    next(e for e in events if isinstance(e, Stepped))
    assert all(torch.equal(kept[name], tensor) for name, tensor in first.pack()[0].items())


def test_nothing_is_read_back_from_the_device_within_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "nonzero"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *a, n=name, o=original, **k: read.append(n) or o(*a, **k))
    config = replace(CONFIG, log_every=1000)
    events = fit(network(), FastIbp(0.05, warmup=1, ramp=2), examples(), config, IbpAccuracy(0.0))
    for _ in range(7):
        next(events)
        if _ == 0:
            read.clear()  # the first step seeds and initialises
    assert read == []


def test_divergence_is_named_and_no_state_is_given() -> None:
    config = replace(CONFIG, lr=1e30, clip_norm=float("inf"), optimizer="sgd", log_every=1000)
    stepped = list(islice(fit(network(), Standard(), examples(), config, IbpAccuracy(0.0)), 7))
    with pytest.raises(Diverged, match="diverged") as caught:
        stepped[-1].snapshot()
    assert caught.value.where == "step 7"
    assert caught.value.exit_code == 3
    with pytest.raises(Diverged, match="step 4"):
        list(fit(network(), Standard(), examples(), replace(config, log_every=4), IbpAccuracy(0.0)))


def test_metrics_do_not_depend_on_how_often_checkpoints_are_written() -> None:
    def losses(every: int) -> list[float]:
        config = replace(CONFIG, checkpoint_every=every)
        return [e.loss for e in fit(network(), Standard(), examples(), config, IbpAccuracy(0.0)) if isinstance(e, Metrics)]

    assert losses(1) == losses(100)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"data": Examples(torch.rand(100, 5), torch.zeros(100, dtype=torch.int64))}, BadShape, "takes"),
        ({"data": Examples(torch.rand(100, 6), torch.full((100,), 3))}, BadData, "outside 0..2"),
        ({"data": Examples(torch.rand(100, 6) - 1, torch.zeros(100, dtype=torch.int64))}, BadData, "valid range"),
        ({"config": replace(CONFIG, batch=90)}, BadConfig, "smaller batch"),
        ({"config": replace(CONFIG, batch=1)}, BadConfig, "more than one value"),
        ({"config": replace(CONFIG, milestones=(9,))}, BadConfig, "after the run's end"),
        ({"recipe": IbpTraining(0.1, warmup=3, ramp=3)}, BadConfig, "take 6 epochs, and the run has 4"),
    ],
)
def test_refused_before_the_first_step(change, error, match: str) -> None:
    given = {"recipe": IbpTraining(0.05, warmup=1, ramp=1), "data": examples(), "config": CONFIG, **change}
    with pytest.raises(error, match=match):
        fit(network(), given["recipe"], given["data"], given["config"], IbpAccuracy(0.0))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0}, {"batch": 0}, {"optimizer": "lion"}, {"lr": 0.0}, {"decay": 0.0}, {"milestones": (3.0, 2.0)},
        {"momentum": -1.0}, {"clip_norm": 0.0}, {"validation": 1.0}, {"protocol": "honest"}, {"log_every": 0},
        {"checkpoint_every": 0}, {"seed": -1}, {"weight_decay": float("nan")},
    ],
)  # fmt: skip
def test_refused_options(change) -> None:
    with pytest.raises(BadConfig):
        replace(CONFIG, **change)


@pytest.mark.slow
def test_a_state_of_another_run_or_network_is_refused() -> None:
    run = fit(network(), Standard(), examples(), CONFIG, IbpAccuracy(0.0))
    state = next(e for e in run if isinstance(e, Stepped)).snapshot()
    with pytest.raises(BadConfig, match="seed 1 there and 2 here"):
        fit(network(), Standard(), examples(), replace(CONFIG, seed=2), IbpAccuracy(0.0), state=state)
    with pytest.raises(BadConfig, match="a run of 32 steps, and this one has 16"):
        fit(network(), Standard(), examples(), replace(CONFIG, epochs=2), IbpAccuracy(0.0), state=state)
    with pytest.raises(BadFile, match=r"another architecture: '0.bias' is of shape \(8,\) there and of shape \(9,\) here"):
        next(fit(network(9), Standard(), examples(), CONFIG, IbpAccuracy(0.0), state=state))
