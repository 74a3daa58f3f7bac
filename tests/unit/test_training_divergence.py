"""A loss that is no number, or weights that are none: no snapshot, no checkpoint, never the best epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.record.folder import RunFolder
from epsball.run.track import screen
from epsball.run.training_job import Job, load_state, train
from epsball.storage import write_tensors
from epsball.training.base import Batch, Diverged, Loss, Progress
from epsball.training.config import TrainConfig
from epsball.training.evaluate import Evaluation, IbpAccuracy, Scores
from epsball.training.events import Epoch, Finished, Stepped
from epsball.training.loop import fit
from epsball.training.recipes.standard import Standard

CONFIG = TrainConfig(epochs=2, batch=10, lr=1e-2, log_every=1000, checkpoint_every=1, seed=1, validation=0.2)  # 4 steps an epoch


def network() -> Network:
    return Network.capture(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), (4,))


def examples() -> Examples:
    return Examples(torch.rand(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 2)


@dataclass(frozen=True)
class Told(Standard):
    """A loss that is `what` at one step, and whose gradient stays that of the loss: the weights tell nothing."""

    at_step: int = 2
    what: float = float("nan")

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        found = super().loss(net, batch, at)
        return replace(found, total=found.total + self.what) if at.step == self.at_step else found


class Breaking(Evaluation):
    """A judge that likes every epoch better than the one before, and finds broken weights the best of all."""

    verifier = "none"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _net: Network, _data: Examples) -> Scores:
        self.calls += 1
        return Scores(0.1 * self.calls, 0.1 * self.calls)


@dataclass(frozen=True)
class Exploding(Standard):
    """Its loss is finite at every step; its gradient at one step is not."""

    at_step: int = 3

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        found = super().loss(net, batch, at)
        if at.step != self.at_step:
            return found
        weight = next(iter(net.params().values()))
        return replace(found, total=found.total + (weight - weight.detach()).abs().sqrt().sum())  # 0, of infinite slope


@pytest.mark.parametrize("what", [float("nan"), float("inf"), -float("inf")])
def test_no_snapshot_is_given_from_the_step_whose_loss_is_no_number(what: float) -> None:
    given = []
    events = fit(network(), Told(what=what), examples(), CONFIG, Breaking())
    with pytest.raises(Diverged, match="the loss is NaN or infinite") as caught:
        given.extend(event.snapshot().step for event in events if isinstance(event, Stepped))
    assert given == [1, 2]
    assert caught.value.where == "step 3"


def test_weights_that_stay_numbers_do_not_hide_it() -> None:
    """That the test above is about the loss alone."""
    net = network()
    with pytest.raises(Diverged):
        list(fit(net, Told(), examples(), CONFIG, Breaking()))
    assert all(bool(p.isfinite().all()) for p in net.params().values())


def test_a_loss_that_is_no_number_is_never_of_the_best_epoch() -> None:
    seen = []
    judge = Breaking()
    with pytest.raises(Diverged, match="the loss is NaN"):
        seen.extend(fit(network(), Told(at_step=3), examples(), CONFIG, judge))
    assert judge.calls == 0
    assert not any(isinstance(event, Epoch | Finished) for event in seen)


@pytest.mark.parametrize("epochs", [1, 2])
def test_broken_weights_are_never_the_best_epoch(epochs: int) -> None:
    """The last step before the epoch's end breaks them: its own loss was a number, and nobody asks for a snapshot here."""
    config, net = replace(CONFIG, epochs=epochs), network()
    seen = []
    with pytest.raises(Diverged, match="holds NaN or infinity") as caught:
        seen.extend(fit(net, Exploding(at_step=4 * epochs - 1), examples(), config, Breaking()))
    assert caught.value.where == f"step {4 * epochs}"
    assert sum(isinstance(event, Epoch) for event in seen) == epochs - 1
    assert not any(isinstance(event, Finished) for event in seen)


@pytest.mark.parametrize("recipe", [Told(at_step=5), Exploding(at_step=5), Exploding(at_step=7)], ids=["loss", "weights", "last"])
def test_the_checkpoint_stays_that_of_the_step_before(tmp_path: Path, recipe: Standard) -> None:
    job = Job(network(), recipe, examples(), CONFIG, IbpAccuracy(0.01), {})
    saved = []
    with RunFolder(tmp_path / "run", resume=False) as folder, pytest.raises(Diverged):
        train(job, folder, lambda path, module, _: saved.append(write_tensors(path, module.state_dict(), {})), screen(quiet=True))
    state = load_state(tmp_path / "run" / "checkpoint.safetensors")
    assert state.step == recipe.at_step
    assert all(bool(t.isfinite().all()) for t in state.model.values())
    assert saved == []
