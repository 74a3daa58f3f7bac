"""A step: no host synchronisation, precisions, compiled losses, and what a device cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from epsball.attacks.climb import climb
from epsball.attacks.pgd import PGD
from epsball.errors import BadConfig
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import Box
from epsball.training.base import Progress, Recipe
from epsball.training.config import TrainConfig
from epsball.training.evaluate import IbpAccuracy, Scores
from epsball.training.events import Metrics
from epsball.training.interval_pass import training_box
from epsball.training.loop import fit
from epsball.training.parallel import Team, noise
from epsball.training.recipes.crown_ibp import CrownIbpTraining, FusedCrownIbp
from epsball.training.recipes.fast_ibp import FastIbp
from epsball.training.recipes.ibp import IbpTraining
from epsball.training.recipes.mixture import Mixture
from epsball.training.recipes.pgd import Pgd
from epsball.training.recipes.standard import Standard
from epsball.training.replay import knobs, phase
from epsball.training.state import copied
from epsball.training.step import Stepper, check_step
from epsball.types import Tensor
from plain_formulas import batch, network

WARM, RAMP, FULL = (Progress(step, 100, 10) for step in (3, 15, 40))
CONFIG = TrainConfig(epochs=1, batch=12, l1=1e-4, accumulate=2, augment=True, crop=1)
RAMPED = {"warmup": 1, "ramp": 1}
RECIPES: dict[str, Recipe] = {
    "standard": Standard(),
    "ibp": IbpTraining(0.1, **RAMPED),
    "ibp-detached-hinge": IbpTraining(0.1, **RAMPED, batch_norm="detached", form="hinge"),
    "fast-ibp": FastIbp(0.1, **RAMPED),
    "crown-ibp": CrownIbpTraining(0.1, **RAMPED),
    "crown-ibp-fused": FusedCrownIbp(0.1, **RAMPED),
    "pgd": Pgd(0.1, steps=2),
    "pgd-adversarial": Pgd(0.1, steps=2, batch_norm="adversarial"),
    "mixture": Mixture(0.1, **RAMPED),
}


@pytest.fixture(scope="module")
def captured() -> Network:
    return Network.capture(network(), (2, 6, 6))


@pytest.fixture
def net(captured: Network) -> Network:
    captured.module.to(torch.float64).load_state_dict(network().state_dict())
    return Network(captured.module.train(), captured.plan)


def stepper(net: Network, recipe: Recipe, **options) -> Stepper:
    data = batch()
    x = data.x.to(next(net.module.parameters()).dtype)
    return Stepper(net, recipe, replace(CONFIG, **options), Examples(x, data.y))


class Reads(TorchDispatchMode):
    """Notes every operation that a device would have to answer before the host can go on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __enter__(self) -> Self:
        self.patch = pytest.MonkeyPatch()
        for name in ("tolist", "numpy"):  # these pass the dispatcher by
            self.patch.setattr(torch.Tensor, name, lambda *_, name=name: self.found.append(name))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.patch.undo()
        super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name.startswith("index") and any(
            isinstance(t, Tensor) and t.dtype == torch.bool for a in args if isinstance(a, (list, tuple)) for t in a
        )
        if masks or name in ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "masked_select", "equal", "_unique2"):
            self.found.append(name)
        return func(*args, **kwargs or {})


def test_what_a_read_is() -> None:
    x = torch.arange(3.0)
    for read in (x[0].item, lambda: x[x > 1], lambda: bool(x[1]), (x > 1).nonzero, lambda: x.tolist()):  # noqa: PLW0108 - looked up when it is patched
        with Reads() as reads:
            read()
        assert reads.found


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_step_reads_nothing_back(net: Network, name: str, optimizer: str) -> None:
    take = stepper(net, RECIPES[name], optimizer=optimizer)
    index = torch.arange(12)
    for at in (WARM, RAMP, FULL) if optimizer == "adam" else (RAMP,):
        with Reads() as reads:
            take(index, at)
        assert reads.found == []
    assert take.window.read(3)[""] > 0


@pytest.mark.parametrize("at", [WARM, RAMP, FULL], ids=["warm", "ramp", "full"])
@pytest.mark.parametrize("name", RECIPES)
def test_knobs_as_tensors_are_knobs_as_numbers(net: Network, name: str, at: Progress) -> None:
    recipe, data = RECIPES[name], batch()
    values = knobs(recipe, at)
    live = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}

    def found(at: Progress) -> list[Tensor]:
        torch.manual_seed(0)
        total = recipe.loss(net, data, at).total
        return [total, *torch.autograd.grad(total, list(net.module.parameters()), allow_unused=True)]

    for ours, theirs in zip(found(replace(at, live=live)), found(at), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_phase_is_which_terms_there_are() -> None:
    recipe = CrownIbpTraining(0.1, **RAMPED)
    phases = [phase(knobs(recipe, Progress(step, 100, 10))) for step in range(30)]
    assert len(set(phases)) == 3, "warm-up, ramp, full radius"
    assert phases == sorted(phases, key=phases.index), "one after the other"
    assert phase({"eps": 0.1, "kappa": 1.0}) == phase({"eps": 0.2, "kappa": 1.0}) != phase({"eps": 0.2, "kappa": 0.5})
    assert knobs(Mixture(0.1, weight=0.0, **RAMPED), RAMP) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backend"), [("standard", "aot_eager"), ("fast-ibp", "eager"), ("pgd-adversarial", "aot_eager")])
def test_a_compiled_step_is_the_step(net: Network, name: str, backend: str) -> None:
    found = []
    for how in ("none", backend):
        net.module.load_state_dict(network().state_dict())
        torch.manual_seed(0)
        take = stepper(net, RECIPES[name], compile=how, optimizer="sgd", lr=1e-2)
        for step in (12, 15):
            take(torch.arange(12), Progress(step, 100, 10))
        found.append({**take.window.read(2), **copied(net.module.state_dict())})
    assert set(found[0]) == set(found[1])
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.parametrize("name", RECIPES)
def test_bf16_steps_are_finite_and_near(net: Network, name: str) -> None:
    net.module.float()
    losses = {}
    for precision in ("float32", "bf16"):
        net.module.load_state_dict(network().state_dict())
        torch.manual_seed(0)
        take = stepper(net, RECIPES[name], precision=precision)
        for at in (WARM, RAMP):
            take(torch.arange(12), at)
        losses[precision] = take.window.read(2)[""]
        for parameter in net.module.parameters():
            assert parameter.dtype == torch.float32
            assert parameter.isfinite().all()
            assert parameter.grad.dtype == torch.float32
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.05)
    assert losses["bf16"] != losses["float32"]


@dataclass(frozen=True)
class Watched(IbpAccuracy):
    """Notes in what arithmetic it is asked."""

    def __call__(self, net: Network, data: Examples) -> Scores:
        assert not torch.is_autocast_enabled("cpu")
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert net.prepare().forward(data.inputs()).dtype == torch.float32
        return super().__call__(net, data)


def small() -> tuple[Network, Examples]:
    torch.manual_seed(0)
    y = torch.arange(80) % 3
    x = torch.rand(80, 6)
    x[torch.arange(80), y] += 1
    layers = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    return Network.capture(nn.Sequential(*layers), (6,)), Examples(x / 2, y)


@pytest.fixture
def rounded() -> Iterator[None]:
    """TF32 allowed by the user, and as it was at the end."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = True
    yield
    assert all(flag.allow_tf32 for flag in flags), "a run leaves the flags as they were"
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_evaluation_is_exact_whatever_the_step_is(rounded: None, precision: str) -> None:
    net, data = small()
    seen: list[bool] = []

    @dataclass(frozen=True)
    class Spy(FastIbp):
        def loss(self, net, batch, at):
            seen.append(torch.backends.cudnn.allow_tf32)
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
            return super().loss(net, batch, at)

    config = TrainConfig(epochs=2, batch=12, precision=precision, average="ema")
    list(fit(net, Spy(0.05, warmup=0, ramp=1), data, config, Watched(0.05)))
    assert set(seen) == {False}


@pytest.mark.parametrize("optimizer", ["adamw", "radam"])
def test_more_optimizers_learn(optimizer: str) -> None:
    net, data = small()
    config = TrainConfig(epochs=6, batch=12, lr=2e-2, log_every=6, optimizer=optimizer, weight_decay=1e-3)
    assert type(config.make_optimizer(net.module)).__name__.lower() == optimizer
    losses = [e.loss for e in fit(net, Standard(), data, config, IbpAccuracy(0.0)) if isinstance(e, Metrics)]
    assert losses[-1] < 0.9 * losses[0]


def test_weight_decay_of_adamw_is_taken_off_the_weights() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    optimizer = TrainConfig(optimizer="adamw", lr=0.1, weight_decay=0.5).make_optimizer(layer)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.1 * 0.5))


class Foreign(Standard):
    def knobs(self, at: Progress) -> None:
        """It does not say."""


@pytest.mark.parametrize(
    ("options", "recipe", "says"),
    [
        ({"precision": "tf32"}, Standard(), "cpu cannot train in tf32"),
        ({"cuda_graph": True}, Standard(), "cpu cannot record CUDA graphs"),
        ({"compile": "eager"}, Foreign(), "does not say which numbers"),
    ],
)
def test_what_a_device_or_a_recipe_cannot_do(net: Network, options: dict, recipe: Recipe, says: str) -> None:
    with pytest.raises(BadConfig, match=says) as caught:
        check_step(net, recipe, replace(CONFIG, **options))
    assert caught.value.where.startswith("train.")
    assert caught.value.fix


def test_recorded_steps_are_for_one_process(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epsball.training.step.team", lambda: Team(0, 2))
    with pytest.raises(BadConfig, match="compile is for one process"):
        check_step(net, Standard(), replace(CONFIG, compile="eager"))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamm"}, {"precision": "fp16"}, {"compile": "fast"}, {"cuda_graph": True, "optimizer": "sgd"},
        {"cuda_graph": True, "compile": "eager"},
    ],
)  # fmt: skip
def test_refused_options(options: dict) -> None:
    with pytest.raises(BadConfig) as caught:
        replace(CONFIG, **options)
    assert caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize("decay", ["none", "linear"])
def test_the_attack_of_a_step_is_the_attack(net: Network, decay: str) -> None:
    data, clip = batch(), (0.0, 1.0)
    attack = PGD(4, 0.3, decay=decay, start="nominal")
    forward = net.prepare().forward
    box = Box(data.x, 0.1, clip)
    theirs = attack(forward, box, robust(data.y, 4, torch.float64)).x
    ours = climb(forward, data.x, data.y, training_box(data.x, 0.1, clip), attack, noise)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert not torch.equal(ours, data.x)
