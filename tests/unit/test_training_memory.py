"""What a recipe remembers: of each example, and of all together; with stages and other combinations of quantities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from epsball.errors import BadConfig, BadFile
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.problem.threat import Threat
from epsball.training.base import Batch, Loss, Progress, Recipe, Schedule
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy, judged_at
from epsball.training.events import Epoch, Finished, Stepped
from epsball.training.loop import fit
from epsball.training.memory import Memory
from epsball.training.quantities import Quantities
from epsball.training.state import TrainState

X = torch.rand(48, 4, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 2).long()
CONFIG = TrainConfig(epochs=6, batch=8, lr=0.05, milestones=(), validation=0.25, checkpoint_every=1)


def _network() -> Network:
    torch.manual_seed(5)
    return Network.capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (4,))


@dataclass(frozen=True)
class Remembering(Recipe):
    """Each example's loss so far, averaged with momentum, weighs it; a multiplier rises while the mean loss is above a target."""

    eps: float = 0.05
    target: float = 0.3
    scale: float = 1.0

    @property
    def threat(self) -> Threat:
        return Threat(self.eps, clip=(0.0, 1.0))

    def memory(self, data: Examples) -> Memory:
        return Memory({"loss": torch.full((len(data),), 0.7), "delta": torch.zeros_like(data.x)}, {"multiplier": torch.tensor(0.0)})

    def eps_at(self, at: Progress) -> float:
        return self.eps

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        assert batch.memory is not None
        assert batch.index is not None
        past, delta = batch.memory.rows("loss", batch.index), batch.memory.rows("delta", batch.index).requires_grad_()
        each = cross_entropy(net.module(batch.x + delta), batch.y, reduction="none")
        (slope,) = torch.autograd.grad(each.sum(), delta, retain_graph=True)
        moved = (delta + self.eps * slope.sign()).clamp(-self.eps, self.eps).detach()
        multiplier = batch.memory.shared["multiplier"]
        total = self.scale * ((past / past.mean()) * each).mean() + multiplier * each.mean()
        kept = {
            "loss": 0.9 * past + 0.1 * each.detach(),
            "delta": moved,
            "multiplier": (multiplier + 0.1 * (each.detach().mean() - self.target)).clamp(min=0),
        }
        return Loss(total, {"natural": each.detach().mean()}, kept=kept)


def _run(recipe: Recipe, config: TrainConfig = CONFIG, stop: int | None = None, state=None):
    """The weights at the end, or the state after so many steps."""
    net = _network()
    for event in fit(net, recipe, Examples(X, Y), config, IbpAccuracy(0.0), state=state):
        if isinstance(event, Stepped) and event.step == stop:
            return event.snapshot()
        if isinstance(event, Finished):
            return event, {name: value.clone() for name, value in net.module.state_dict().items()}
    raise AssertionError


@pytest.mark.parametrize("stop", [1, 5, 11, 20])
def test_a_run_that_remembers_goes_on_bit_for_bit(stop):
    whole, weights = _run(Remembering())
    last = _run(Remembering(), stop=24)
    tensors, described = _run(Remembering(), stop=stop).pack()
    assert any(name.startswith("memory/each.delta") for name in tensors)
    assert float(tensors["memory/each.delta"].abs().sum()) > 0
    state = TrainState.unpack(tensors, described, "here")
    there = _run(Remembering(), stop=24, state=state)
    for part in ("model", "optimizer", "memory"):
        for name, value in getattr(last, part).items():
            assert torch.equal(value, getattr(there, part)[name])
    again, resumed = _run(Remembering(), state=state)
    assert again.selected.epoch == whole.selected.epoch
    for name, value in weights.items():
        assert torch.equal(value, resumed[name])


def test_without_its_memory_the_run_would_be_another_one():
    """The same state with an empty memory: the check above would see it."""
    last = _run(Remembering(), stop=20).model
    state = _run(Remembering(), stop=11)
    blank = replace(state, memory={name: torch.zeros_like(value) + 0.7 for name, value in state.memory.items()})
    other = _run(Remembering(), stop=20, state=blank).model
    assert any(not torch.equal(value, other[name]) for name, value in last.items())


def test_the_rows_are_those_of_the_examples():
    """What was written for an example is what is read for it, whatever the order of the epochs."""
    seen: dict[int, float] = {}

    @dataclass(frozen=True)
    class Counting(Recipe):
        def memory(self, data: Examples) -> Memory:
            return Memory({"count": torch.zeros(len(data)), "mark": data.x[:, 0].clone()})

        def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
            assert batch.memory is not None
            assert batch.index is not None
            assert torch.equal(batch.memory.rows("mark", batch.index), batch.x[:, 0])
            count = batch.memory.rows("count", batch.index)
            for i, times in zip(batch.index.tolist(), count.tolist(), strict=True):
                assert seen.get(i, 0.0) == times
                seen[i] = times + 1
            return Loss(cross_entropy(net.module(batch.x), batch.y), kept={"count": count + 1})

    for config in (CONFIG, replace(CONFIG, accumulate=2)):
        seen.clear()
        _run(Counting(), config)
        assert sum(seen.values()) == config.epochs * (36 // config.batch) * config.batch


def test_a_state_of_another_memory_is_refused():
    state = _run(Remembering(), stop=3)

    @dataclass(frozen=True)
    class Forgetful(Remembering):
        def memory(self, data: Examples) -> Memory:
            return Memory({"loss": torch.zeros(len(data))})

    with pytest.raises(BadFile, match="the checkpoint remembers"):
        _run(Forgetful(), state=state)
    with pytest.raises(BadFile, match="the recipe nothing"):
        _run(Staged(), state=state)


def test_what_is_kept_must_be_remembered_and_fit():
    memory = Memory({"a": torch.zeros(5, 2)}, {"b": torch.tensor(1.0)})
    index = torch.tensor([3, 1])
    memory.write(index, {"a": torch.ones(2, 2), "b": torch.tensor(2.0)})
    assert memory.each["a"].sum(1).tolist() == [0.0, 2.0, 0.0, 2.0, 0.0]
    assert float(memory.shared["b"]) == 2.0
    for kept in ({"c": torch.ones(2)}, {"a": torch.ones(2)}, {"b": torch.ones(2)}):
        with pytest.raises(BadConfig, match="a loss keeps"):
            memory.write(index, kept)
    with pytest.raises(BadConfig, match="remembered twice"):
        Memory({"a": torch.zeros(1)}, {"a": torch.zeros(1)})
    with pytest.raises(BadConfig, match="remembers examples"):
        list(fit(_network(), Knobbed(), Examples(X, Y), replace(CONFIG, compile="eager"), IbpAccuracy(0.0)))


@dataclass(frozen=True)
class Knobbed(Remembering):
    def knobs(self, at: Progress) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Staged(Recipe):
    """Two stages: the second layer first, then everything; each stage has a fresh optimizer."""

    def stage_at(self, at: Progress) -> int:
        return int(at.epoch >= 3)

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        total = cross_entropy(net.module(batch.x), batch.y)
        if self.stage_at(at) == 0:
            total = total + 0 * sum(p.sum() for p in net.module[0].parameters())
        return Loss(total)


def test_stages_begin_anew_are_selected_last_and_resume():
    config = replace(CONFIG, optimizer="adam")
    whole, weights = _run(Staged(), config)
    assert whole.selected.epoch > 3  # no epoch of the first stage is kept
    for stop in (4, 12, 13, 20):
        _, resumed = _run(Staged(), config, state=_run(Staged(), config, stop=stop))
        assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
    begun = _run(Staged(), config, stop=13).optimizer  # one step after the second stage began
    assert {float(value) for name, value in begun.items() if name.endswith("step")} == {1.0}


@dataclass(frozen=True)
class Combined(Recipe):
    """`natural^(1 - power) robust^power + natural robust`: neither a sum nor a mean of two terms."""

    eps: float = 0.05
    power: float = 0.5

    @property
    def threat(self) -> Threat:
        return Threat(self.eps)

    @property
    def schedule(self) -> Schedule:
        return Schedule(0.0, 2.0)

    def eps_at(self, at: Progress) -> float:
        return self.eps * min(1.0, at.epoch / 2)

    def loss(self, net: Network, batch: Batch, at: Progress) -> Loss:
        step = Quantities(net, batch, self.eps_at(at))
        natural, robust = step.natural, cross_entropy(step.worst, batch.y)
        assert step.bounded is step.bounded
        total = natural ** (1 - self.power) * robust**self.power + natural * robust
        return Loss(total, {"natural": natural.detach(), "robust": robust.detach()})


def test_a_loss_is_any_function_of_its_quantities():
    net = _network()
    judge = judged_at(Combined(), CONFIG, None)
    assert judge == IbpAccuracy(0.05, None)  # what it is trained against is what it is judged by
    events = list(fit(net, Combined(), Examples(X, Y), CONFIG, judge))
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert epochs[-1].scores.verified > 0.5
    assert not epochs[0].best  # before the full radius nothing is selected


def test_an_l2_radius_is_not_measured_as_a_box():
    """A recipe of somebody else that trains in l2: its epochs are judged in l2."""

    @dataclass(frozen=True)
    class InL2(Staged):
        @property
        def threat(self) -> Threat:
            return Threat(0.3, "l2")

    judge = judged_at(InL2(), CONFIG, (0.0, 1.0))
    assert judge.told == {"eps": 0.3, "norm": "l2", "sigma": None, "noise": None, "hidden": None}
    net = _network()
    box, ball = IbpAccuracy(0.3, (0.0, 1.0)), judge
    assert isinstance(ball, IbpAccuracy)
    assert ball.norm == "l2"
    assert ball(net, Examples(X, Y)).verified >= box(net, Examples(X, Y)).verified
