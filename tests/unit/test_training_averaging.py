"""L1, accumulated gradients, averaged weights, population statistics, a test radius of its own, and the curriculum by a target."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.ops.plan import Plan
from epsball.training.averaging import population_statistics
from epsball.training.base import Progress
from epsball.training.config import TrainConfig
from epsball.training.curriculum import Pace
from epsball.training.evaluate import Evaluation, IbpAccuracy, Scores
from epsball.training.events import Epoch, Metrics, Stepped
from epsball.training.loop import Census, fit
from epsball.training.recipes.crown_ibp import CrownIbpTraining
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.mixture import Mixture
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.standard import Standard
from epsball.training.state import TrainState

CONFIG = TrainConfig(epochs=6, batch=10, lr=1e-2, log_every=8, checkpoint_every=100, seed=1, validation=0.2)


def module(*, norm: bool) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.ReLU(), nn.Linear(8, 3))


@cache
def plan(*, norm: bool) -> Plan:
    """It holds no weights: they are read from the module."""
    return Network.capture(module(norm=norm), (6,)).plan


def network(*, norm: bool = True) -> Network:
    return Network(module(norm=norm), plan(norm=norm))


def examples() -> Examples:
    y = torch.arange(100) % 3
    x = torch.rand(100, 6, generator=torch.Generator().manual_seed(0)) * 100
    x[torch.arange(100), y] += 100
    return Examples(x.to(torch.uint8), y)


def run(recipe, config: TrainConfig, net: Network | None = None, judge=IbpAccuracy(0.05), state: TrainState | None = None) -> list:  # noqa: B008
    return list(fit(net or network(), recipe, examples(), config, judge, state=state))


def final(recipe, config: TrainConfig, *, norm: bool = True) -> dict[str, torch.Tensor]:
    """The live weights after the last step."""
    *_, last = (
        e.snapshot().model for e in fit(network(norm=norm), recipe, examples(), config, IbpAccuracy(0.0)) if isinstance(e, Stepped)
    )
    return last


@pytest.mark.slow
def test_l1_is_added_to_the_loss_and_shrinks_the_weights() -> None:
    config = replace(CONFIG, l1=1e-3, log_every=1, epochs=1)
    first = next(e for e in run(Standard(), config) if isinstance(e, Metrics))
    torch.manual_seed(CONFIG.seed)
    net = network()
    torch.manual_seed(CONFIG.seed)
    Standard().initialise(net)
    size = sum(p.abs().sum().item() for p in net.module.parameters() if p.dim() > 1)
    assert first.parts["l1"] == pytest.approx(size, rel=1e-5)
    assert first.loss == pytest.approx(first.parts["natural"] + 1e-3 * size, rel=1e-5)

    def total(l1: float) -> float:
        return sum(t.abs().sum().item() for name, t in final(Standard(), replace(CONFIG, l1=l1)).items() if t.dim() > 1)

    assert total(0.02) < 0.8 * total(0.0)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    whole, parts = (final(IbpTraining(0.05, warmup=1, ramp=2), replace(CONFIG, accumulate=n), norm=False) for n in (1, 5))
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5)
    with pytest.raises(BadConfig, match="equal parts"):
        replace(CONFIG, accumulate=3)
    with pytest.raises(BadConfig, match="more than one value"):
        run(Standard(), replace(CONFIG, accumulate=10))


def test_population_statistics_are_those_of_all_values() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), nn.BatchNorm1d(4)).double()
    net = Network.capture(layers, (6,))
    batches = [torch.rand(10, 6, dtype=torch.float64) + i for i in range(4)]
    found = population_statistics(net, batches)
    before = layers[0](torch.cat(batches))
    torch.testing.assert_close(found["1.running_mean"], before.mean(0))
    torch.testing.assert_close(found["1.running_var"], before.var(0, unbiased=False))
    layers.train()
    second = torch.cat([layers[:4](x) for x in batches])
    torch.testing.assert_close(found["4.running_var"], second.var(0, unbiased=False))
    assert population_statistics(network(norm=False), batches) == {}


class Watch(Evaluation):
    """Keeps what is judged: weights and running statistics at each epoch's end."""

    verifier = "none"

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, net: Network, _data: Examples) -> Scores:
        self.seen.append({k: v.detach().clone() for k, v in net.module.state_dict().items()})
        return Scores(0.5, 0.1 * len(self.seen))


def test_swa_is_the_mean_of_the_epochs_ends_with_statistics_of_its_own() -> None:
    plain, averaged = Watch(), Watch()
    run(Standard(), CONFIG, judge=plain)
    net = network()
    events = run(Standard(), replace(CONFIG, average="swa", average_from=4), net, averaged)
    for epoch in range(3):
        assert all(torch.equal(plain.seen[epoch][k], v) for k, v in averaged.seen[epoch].items()), "as before until it begins"
    mean = (plain.seen[3]["0.weight"] + plain.seen[4]["0.weight"] + plain.seen[5]["0.weight"]) / 3
    torch.testing.assert_close(averaged.seen[5]["0.weight"], mean)
    train = examples().inputs()
    before = train @ averaged.seen[5]["0.weight"].T + averaged.seen[5]["0.bias"]
    assert (averaged.seen[5]["1.running_mean"] - before.mean(0)).abs().max() < 0.05, "estimated again (80 of the 100 examples)"
    assert not torch.allclose(plain.seen[5]["1.running_mean"], averaged.seen[5]["1.running_mean"], rtol=1e-3)
    assert events[-1].selected.epoch == 6
    torch.testing.assert_close(net.module.state_dict()["0.weight"], mean)


def test_ema_follows_each_step() -> None:
    watch = Watch()
    config = replace(CONFIG, average="ema", ema_decay=0.9, average_from=0, epochs=1)
    events = fit(network(), Standard(), examples(), config, watch)
    live = [e.snapshot().model["0.weight"] for e in events if isinstance(e, Stepped)]
    expected = live[0]
    for weight in live[1:]:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(watch.seen[0]["0.weight"], expected)
    assert not torch.allclose(watch.seen[0]["0.weight"], live[-1])


def test_the_population_policy_judges_with_statistics_of_the_training_set() -> None:
    clean, population = Watch(), Watch()
    for policy, watch in (("clean", clean), ("population", population)):
        run(IbpTraining(0.05, warmup=1, ramp=2, batch_norm=policy), CONFIG, judge=watch)
    for ours, theirs in zip(population.seen, clean.seen, strict=True):
        assert torch.equal(ours["0.weight"], theirs["0.weight"]), "the steps are the same"
        assert not torch.allclose(ours["1.running_mean"], theirs["1.running_mean"], rtol=1e-3)
        before = examples().inputs() @ ours["0.weight"].T + ours["0.bias"]
        assert (ours["1.running_mean"] - before.mean(0)).abs().max() < 0.05


RECIPES = [
    (CrownIbpTraining(0.05, warmup=1, ramp=2), {"average": "swa", "average_from": 2}),
    (Pgd(0.05, steps=2, batch_norm="adversarial"), {"average": "ema", "average_from": 1.5, "accumulate": 2}),
    (Mixture(0.05, robust="pgd", warmup=1, ramp=2, steps=2), {"l1": 1e-4}),
    (FastIbp(0.05, warmup=0, ramp=3, batch_norm="population"), {"curriculum": "both", "stride": 0.5, "patience": 2}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "options"), RECIPES, ids=lambda v: type(v).__name__ if not isinstance(v, dict) else "")
def test_a_run_goes_on_bit_for_bit(recipe, options) -> None:
    config = replace(CONFIG, **options)
    whole = final(recipe, config)
    expected = run(recipe, config)[-1].selected
    state = None
    for stop in (11, 16, 29):
        torch.manual_seed(99)
        for event in fit(network(), recipe, examples(), config, IbpAccuracy(0.05), state=state):
            if isinstance(event, Stepped) and event.step == stop:
                state = TrainState.unpack(*event.snapshot().pack(), "memory")
                break
    events = fit(network(), recipe, examples(), config, IbpAccuracy(0.05), state=state)
    *_, (last, finished) = _pairs(events)
    assert all(torch.equal(whole[name], tensor) for name, tensor in last.items())
    assert (finished.selected.epoch, finished.selected.verified) == (expected.epoch, expected.verified)
    assert all(torch.equal(expected.model[name], tensor) for name, tensor in finished.selected.model.items())


def _pairs(events):
    model = None
    for event in events:
        model = event.snapshot().model if isinstance(event, Stepped) else model
        yield model, event


def test_an_older_checkpoint_is_still_read() -> None:
    event = next(e for e in fit(network(), Standard(), examples(), CONFIG, IbpAccuracy(0.0)) if isinstance(e, Stepped))
    tensors, described = event.snapshot().pack()
    for name in ("averaged", "share", "waited"):
        del described[name]
    state = TrainState.unpack(tensors, described, "memory")
    assert (state.average, state.averaged, state.share) == ({}, 0, None)


def test_the_curriculum_waits_for_its_target_and_no_longer_than_its_patience() -> None:
    pace, at = Pace(target=0.8, stride=0.25, patience=2), Progress(0, 1000, 10)
    at, shares = pace.start(at), []
    for epoch, measured in enumerate([0.9, 0.1, 0.1, 0.8, 0.5, 0.9, 0.0], 1):
        at = pace.after(replace(at, step=10 * epoch), measured, warmup=2)
        shares.append(at.share)
    assert shares == [0.0, 0.0, 0.25, 0.5, 0.5, 0.75, 0.75], "the first epoch lies within the warm-up"


@pytest.mark.parametrize(("paced", "eps", "kappa"), [("both", 0.05, 0.75), ("eps", 0.05, 0.5), ("kappa", 0.1, 0.75)])
def test_a_target_moves_eps_or_kappa_or_both(paced: str, eps: float, kappa: float) -> None:
    recipe = IbpTraining(0.1, warmup=0, ramp=1)
    at = Progress(10, 100, 10, share=0.5, paced=paced)
    assert recipe.eps_at(at) == pytest.approx(eps)
    assert recipe.kappa()(at) == pytest.approx(kappa)


def test_a_run_with_a_target_reaches_the_full_radius_and_selects_there() -> None:
    config = replace(CONFIG, curriculum="both", target=1.0, stride=0.5, patience=2)
    events = run(IbpTraining(0.05, warmup=0, ramp=1), config)
    radii = [e.eps for e in events if isinstance(e, Metrics)]
    assert radii == pytest.approx([0.0, 0.0, 0.025, 0.025, 0.05, 0.05], abs=1e-9)
    assert [e.best for e in events if isinstance(e, Epoch)][:4] == [False] * 4
    assert sum(isinstance(e, Census) for e in events) == 6
    easy = run(IbpTraining(0.05, warmup=0, ramp=1), replace(config, target=0.0))
    assert [e.eps for e in easy if isinstance(e, Metrics)] == pytest.approx([0.0, 0.025, 0.05, 0.05, 0.05, 0.05], abs=1e-9)
    with pytest.raises(BadConfig, match="may take 15 epochs"):
        run(IbpTraining(0.05, warmup=0, ramp=1), replace(config, stride=0.2, patience=3))


@pytest.mark.parametrize(
    "change",
    [
        {"l1": -1.0}, {"accumulate": 0}, {"average": "mean"}, {"average": "swa", "average_from": 6.0}, {"ema_decay": 1.0},
        {"test_eps": -0.1}, {"curriculum": "beta"}, {"curriculum": "eps", "target": 2.0}, {"curriculum": "eps", "stride": 0.0},
        {"curriculum": "eps", "patience": 0}, {"curriculum": "eps", "measure": "attacked"},
    ],
)  # fmt: skip
def test_refused_options(change) -> None:
    with pytest.raises(BadConfig):
        replace(CONFIG, **change)
