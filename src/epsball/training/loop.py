"""The one training loop: a generator of events that knows nothing of files.

Within a step nothing is read back from the device. The order of the data depends on the seed and the epoch alone, so a run
that goes on from a `TrainState` takes the very steps it would have taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from epsball.device import exact_arithmetic, generator
from epsball.errors import BadConfig, BadData, BadShape
from epsball.examples import Examples
from epsball.problem.labels import as_labels
from epsball.training.averaging import Average, population_statistics, write_statistics
from epsball.training.base import Progress, Recipe
from epsball.training.evaluate import Evaluation, IbpAccuracy, Scores
from epsball.training.events import Epoch, Event, Finished, Metrics, Stepped
from epsball.training.layers import Census, Tightness, census, tightness
from epsball.training.memory import Memory
from epsball.training.parallel import align, judged, team
from epsball.training.state import (
    Selected,
    TrainState,
    copied,
    load_model,
    load_optimizer,
    load_random,
    pack_optimizer,
    random_state,
)
from epsball.training.statistics import check_batch_norm
from epsball.training.step import Stepper, check_step, diverged
from epsball.verification.doubts import warn_trained_to_chance

if TYPE_CHECKING:
    from epsball.ops.network import Network
    from epsball.training.config import TrainConfig
    from epsball.types import Tensor

_ORDER, _SPLIT, _STATISTICS = 1, 2, 3  # streams of random numbers; a step has another


def fit(
    net: Network,
    recipe: Recipe,
    data: Examples,
    config: TrainConfig,
    evaluate: Evaluation,
    *,
    test: Examples | None = None,
    state: TrainState | None = None,
) -> Iterator[Event]:
    """Train a network in place.

    Args:
        net: captured; its module and device are used as they are. The global random state is seeded.
        recipe: how to train.
        data: training examples, moved to the network's device once.
        config: everything else.
        evaluate: judges each epoch on held-out examples; epochs before eps is at its maximum are never selected.
        test: what protocol "literature" selects on; otherwise unused.
        state: go on from here instead of from the start.

    Returns:
        The events of the run. Nothing is trained before the first one is asked for.

    Raises:
        BadConfig: the options, the network and the data do not fit together, or the state is of another run.
        BadData: labels out of range, or inputs outside the valid range.
        BadFile: the state is of another architecture.
        Diverged: while running: the loss or a weight became NaN or infinite.
    """
    device = next(iter(net.params().values())).device
    if tuple(data.shape) != tuple(net.data_shape):
        raise BadShape(
            f"examples of shape {data.shape} for a network that takes {net.data_shape}", fix="build the model for this data set"
        )
    data = Examples(data.x.to(device), data.y.to(device))
    as_labels(data.y, net.classes, what="training label")
    if test is not None:
        _check_test(test, net)
    if config.augment and len(data.shape) != 3:
        raise BadConfig(
            f"inputs of shape {data.shape} are no pictures to mirror and move", where="train.augment", fix="set augment = false"
        )
    train, held, split = _split(data, test, config)
    run = config.run(len(train))
    check_batch_norm(net.plan, config.batch // config.accumulate)
    check_step(net, recipe, config, recipe.memory(train))
    config.rate().check(run)
    recipe.check(train, run)
    pace = config.pace()
    if pace is not None:
        pace.check(run, recipe.schedule.warmup)
    if state is not None:
        _check_state(state, run, config.seed)
    held = Examples(held.x.to(device), held.y.to(device))
    return _Run(net, recipe, config, train, run).events(held, split, evaluate, state)


def _check_test(test: Examples, net: Network) -> None:
    """Test examples are judged when all is trained: what they lack is told before."""
    if not len(test):
        raise BadData("the test set is empty", where="data.test", fix="give test examples, or none at all with test=None")
    if tuple(test.shape) != tuple(net.data_shape):
        raise BadShape(
            f"test examples of shape {test.shape} for a network that takes {net.data_shape}", fix="store both parts alike"
        )
    as_labels(test.y, net.classes, what="test label")


def _split(data: Examples, test: Examples | None, config: TrainConfig) -> tuple[Examples, Examples, str]:
    if config.protocol == "literature":
        if test is None:
            raise BadConfig(
                "the protocol of the literature selects on the test set, and none was given",
                where="train.protocol",
                fix='give test examples, or use protocol = "validation"',
            )
        return data, test, "test"
    held = config.held_out(len(data))
    # drawn on the CPU, so that every device holds the same examples out
    order = torch.randperm(len(data), generator=generator(torch.device("cpu"), config.seed, _SPLIT)).to(data.x.device)
    return data.take(order[held:]), data.take(order[:held]), "validation"


def _check_state(state: TrainState, run: Progress, seed: int) -> None:
    if state.steps > run.steps:
        raise BadConfig(
            f"the checkpoint is of a run of {state.steps} steps, and this one has {run.steps}",
            fix="resume with the configuration the run was started with, or with more epochs",
        )
    for name, there, here in (
        ("steps an epoch", state.per_epoch, run.per_epoch),
        ("seed", state.seed, seed),
    ):
        if there != here:
            raise BadConfig(
                f"the checkpoint is of another run: {name} {there} there and {here} here",
                fix="resume with the configuration the run was started with",
            )


class _Run:
    """What changes during a run."""

    def __init__(self, net: Network, recipe: Recipe, config: TrainConfig, data: Examples, run: Progress) -> None:
        self.net, self.recipe, self.config, self.data = net, recipe, config, data
        self.pace = config.pace()
        self.at = run if self.pace is None else self.pace.start(run)
        self.average = Average(net, config)
        self.best: Selected | None = None
        self.memory = recipe.memory(data)
        self.take = Stepper(net, recipe, config, data, self.memory)
        self.before, self.started = 0.0, time.monotonic()

    def events(self, held: Examples, split: str, evaluate: Evaluation, state: TrainState | None) -> Iterator[Event]:
        self._start(state)
        clip = None if self.recipe.threat is None else self.recipe.threat.clip
        sample = held.take(slice(0, self.config.batch))
        if self.at.step == 0:
            yield from self._tightness(0, sample, evaluate)
        while self.at.step < self.at.steps:
            for index in self._rest_of_epoch():
                self._step(index)
                ends = self.at.step % self.at.per_epoch == 0
                if ends or self.at.step % self.config.log_every == 0:
                    yield self._metrics()
                if ends:
                    self._check()
                    epoch = self.at.step // self.at.per_epoch
                    with self.average.put_in(), exact_arithmetic():
                        self._estimate_statistics()
                        scores = judged(evaluate, self.net, held)
                        best = self._select(epoch, scores)
                        layers = census(self.net, sample, self._reach(), clip)
                        eps, wide = self._reach(), list(self._tightness(epoch, sample, evaluate))
                        self._move_on(held, clip)
                    yield Epoch(epoch, self.at.step, scores, evaluate.verifier, split, best, self.seconds)
                    yield Census(epoch, layers, eps)
                    yield from wide
                yield Stepped(self.at.step, ends or self.at.step % self.config.checkpoint_every == 0, self.snapshot)
        if self.best is None:
            raise BadConfig("no epoch was at the full radius", fix="train for more epochs, or shorten the ramp")
        load_model(self.net.module, self.best.model)
        largest = float(torch.bincount(held.y).max()) / len(held)
        warn_trained_to_chance(self.best.scores.clean, largest, len(held))
        yield Finished(self.best, len(held), split, evaluate.verifier, self.seconds, self.data)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def _start(self, state: TrainState | None) -> None:
        self.started = time.monotonic()
        self.net.module.train()
        if state is None:
            torch.manual_seed(self.config.seed)
            self.recipe.initialise(self.net)
            align(self.net.module.state_dict().values())
            return
        load_model(self.net.module, state.model)
        load_optimizer(self.take.optimizer, state.optimizer)
        load_random(state.random)
        self.at = replace(self.at, step=state.step, share=state.share, waited=state.waited)
        device = next(iter(self.net.params().values())).device
        average = {name: value.to(device) for name, value in state.average.items()}
        self.average = Average(self.net, self.config, average, state.averaged)
        self.best, self.before = state.best, state.seconds
        if self.memory is not None or state.memory:
            (self.memory or Memory()).load(state.memory)

    def _rest_of_epoch(self) -> Iterator[Tensor]:
        """Indices of the batches that are left of the epoch under way."""
        epoch, done = divmod(self.at.step, self.at.per_epoch)
        device, batch = self.data.y.device, self.config.batch
        order = torch.randperm(len(self.data), generator=generator(device, self.config.seed, _ORDER, epoch), device=device)
        for i in range(done, self.at.per_epoch):
            yield order[i * batch : (i + 1) * batch]

    def _step(self, index: Tensor) -> None:
        before = replace(self.at, step=max(0, self.at.step - 1))
        if self.recipe.stage_at(self.at) != self.recipe.stage_at(before):
            self.take = Stepper(self.net, self.recipe, self.config, self.data, self.memory)
            self.average = Average(self.net, self.config)
        self.take(index, self.at)
        self.at = replace(self.at, step=self.at.step + 1)
        self.average.update(self.at)

    def _estimate_statistics(self) -> None:
        """Running statistics over the whole training set, where those of the steps do not fit the weights or the policy."""
        if not self.average.weights and self.recipe.statistics != "population":
            return
        order = torch.randperm(
            len(self.data), generator=generator(self.data.y.device, self.config.seed, _STATISTICS), device=self.data.y.device
        )
        size = self.config.batch // self.config.accumulate
        parts = (order[i * size : (i + 1) * size] for i in range(len(order) // size))
        shares = (self.net.embed(self.take.inputs(team().share(part))) for part in parts)
        write_statistics(self.net, population_statistics(self.net, shares))

    def _move_on(self, held: Examples, clip: tuple[float, float] | None) -> None:
        """Let the curriculum move the ramp, if it follows a target."""
        if self.pace is None:
            return
        scores = judged(IbpAccuracy(self._reach(), clip), self.net, held)
        measured = scores.clean if self.pace.measure == "clean" else scores.verified or 0.0
        self.at = self.pace.after(self.at, measured, self.recipe.schedule.warmup)

    def _reach(self) -> float:
        """The radius in force as that of a box: an l2 radius would make one that says nothing."""
        threat = self.recipe.threat
        return self.recipe.eps_at(self.at) if threat is None or threat.is_ball("linf") else 0.0

    def _tightness(self, epoch: int, sample: Examples, evaluate: Evaluation) -> Iterator[Tightness]:
        threat = evaluate.threat
        if threat is not None and threat.is_ball("linf") and threat.size:
            yield Tightness(epoch, self.at.step, threat.size, *tightness(self.net, sample, threat.size, threat.clip))

    def _metrics(self) -> Metrics:
        last = replace(self.at, step=self.at.step - 1)
        means = self.take.window.read(self.at.step)
        loss = means.pop("")
        rate, eps = self.config.rate()(last), self.recipe.eps_at(last)
        return Metrics(self.at.step, self.at.epoch, rate, eps, loss, means, self.seconds)

    def _select(self, epoch: int, scores: Scores) -> bool:
        """Keep the weights if this epoch is the best one at the full radius."""
        last = replace(self.at, step=self.at.steps, share=None if self.at.share is None else 1.0)
        here = replace(self.at, step=self.at.step - 1)  # of the last step: a stage begins with the step after it
        full = self.recipe.eps_at(self.at) == self.recipe.eps_at(last) and (
            self.recipe.stage_at(here) == self.recipe.stage_at(replace(last, step=last.steps - 1))
        )
        if not full or (self.best is not None and scores.rank <= self.best.scores.rank):
            return False
        self.best = Selected(epoch, self.at.step, *scores[:2], copied(self.net.module.state_dict()), scores.noisy)
        return True

    def _check(self) -> None:
        """Refuse a run that has diverged: no checkpoint is replaced by a useless one, and no such epoch is the best."""
        self.take.window.check(self.at.step)
        state = self.net.module.state_dict()
        broken = [name for name, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())]
        if broken:
            raise diverged(f"{broken[0]!r} holds NaN or infinity", self.at.step)

    def snapshot(self) -> TrainState:
        """The run as it stands; refused where it has diverged."""
        self._check()
        return TrainState(
            self.at.step,
            self.at.steps,
            self.at.per_epoch,
            self.config.seed,
            self.seconds,
            copied(self.net.module.state_dict()),
            pack_optimizer(self.take.optimizer),
            random_state(),
            self.best,
            copied(self.average.weights),
            self.average.count,
            self.at.share,
            self.at.waited,
            {} if self.memory is None else self.memory.pack(),
        )
