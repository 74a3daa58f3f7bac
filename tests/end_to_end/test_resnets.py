"""Trained residual networks from their files: read, captured, right on real pictures, and bounded at every node."""

from __future__ import annotations

import zipfile

import pytest
import torch
from benchmarks.resnets import FOLDER, STD, trained
from torch.nn import functional as F

import epsball
from epsball.attacks.pgd import PGD
from epsball.bounding.base import bounders
from epsball.bounding.budget.within import Within
from epsball.bounding.linear.crown import CrownIbp
from epsball.data.tiny_imagenet import TinyImageNet
from epsball.models.foreign import read_state_dict
from epsball.ops.network import Network
from epsball.problem.problem import Budget
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

NAMES = ("resnet20-12fca82f.th", "resnet32-d509ac18.th", "resnet56-4bfd9763.th")
# classes of Tiny ImageNet that CIFAR-10 has too: bullfrog, king penguin, golden retriever, sports car
SAME = {"n01641577": 6, "n02056570": 2, "n02099601": 5, "n04285008": 1}


@pytest.fixture(scope="module")
def pictures(shared) -> tuple[torch.Tensor, torch.Tensor]:
    """200 labelled pictures that these networks were not trained on: (N, 3, 32, 32) in [0, 1], and their CIFAR-10 classes."""
    path = shared / "data/tiny-imagenet-subset/tiny-imagenet-subset.zip"
    test = TinyImageNet().read(path).test
    with zipfile.ZipFile(path) as file:
        known = file.read("tiny-imagenet-200/wnids.txt").decode().split()
        training = {name.split("/")[2] for name in file.namelist() if "/train/n" in name}
    labels = torch.tensor([SAME.get(wnid, -1) for wnid in known if wnid in training])[test.y]
    chosen = (labels >= 0).nonzero()[:, 0]
    return F.avg_pool2d(test.inputs(chosen), 2), labels[chosen]


def plain(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published architecture from its weights alone, with batch norm written out: the reference output."""

    def layer(h: torch.Tensor, conv: str, norm: str, stride: int = 1) -> torch.Tensor:
        mean, var, scale, shift = (
            state[f"{norm}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (F.conv2d(h, state[f"{conv}.weight"], stride=stride, padding=1) - mean) / (var + 1e-5).sqrt() * scale + shift

    h = layer(x, "conv1", "bn1").relu()
    for stage in (1, 2, 3):
        block = 0
        while (name := f"layer{stage}.{block}") + ".conv1.weight" in state:
            stride = 2 if stage > 1 and block == 0 else 1
            out = layer(layer(h, f"{name}.conv1", f"{name}.bn1", stride).relu(), f"{name}.conv2", f"{name}.bn2")
            more = (out.shape[1] - h.shape[1]) // 2
            short = h[:, :, ::stride, ::stride]
            h = (out + torch.cat((torch.zeros_like(out[:, :more]), short, torch.zeros_like(out[:, :more])), 1)).relu()
            block += 1
    return h.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.shared
def test_every_file_is_tested_here(shared):
    assert tuple(sorted(path.name for path in (shared / FOLDER).glob("*.th"))) == NAMES


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
def test_a_trained_resnet_is_read_is_right_and_is_bounded(shared, pictures, name):
    x, y = pictures
    module = trained(shared / FOLDER / name)
    network = Network.capture(module, (3, 32, 32))
    with torch.no_grad():
        outputs = module(x)
        # what is bounded is the published network, to float64's precision
        state = {key: value.double() for key, value in read_state_dict(shared / FOLDER / name).items()}
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in ((0.485, 0.456, 0.406), STD))
        few = x[::50].double()
        exact = plain(state, (few - mean) / std)
        assert torch.allclose(network.prepare(torch.float64).forward(few), exact, rtol=1e-5, atol=1e-5)  # std is kept in float32
        assert torch.allclose(network.prepare().forward(x[::50]), outputs[::50], rtol=1e-3, atol=1e-3)
        assert bool((outputs[::50].argmax(1) == exact.argmax(1)).all())
    right = outputs.argmax(1) == y
    assert float(right.double().mean()) > 0.65  # chance is 0.1, and 0.14 to 0.32 without the normalisation
    _bounds_hold(network, x[right][:2], y[right][:2], 1e-3)


def _bounds_hold(network: Network, x: torch.Tensor, y: torch.Tensor, eps: float) -> None:
    """IBP and CROWN-IBP against points and PGD; and the intervals of every node against the values there."""
    ball, prop, prepared = LpBall(x, eps, clip=(0.0, 1.0)), robust(y, 10), network.prepare()
    generator = torch.Generator().manual_seed(0)
    attacked = epsball.attack(network, x, y, eps=eps, method=PGD(steps=10, targets=2))
    hull = ball.hull()
    corner = torch.where(torch.rand(x.shape, generator=generator) < 0.5, hull.lower, hull.upper)
    points = [ball.sample(generator), corner, attacked.x]
    with torch.no_grad():
        bounds = {name: Within(bounders[name](), Budget())(prepared, ball, prop.rows()) for name in ("ibp", "crown-ibp")}
        found = CrownIbp().known(prepared, ball).found
        widths = []
        for point in points:
            values = {0: point}
            for step in prepared.steps:
                values[step.slot] = step.op.value(*[values[slot] for slot in step.args])
            for slot, interval in found.items():
                slack = 1e-5 * (1 + float(values[slot].abs().max()))
                assert bool(interval.contains(values[slot], slack=slack).all()), slot
                widths.append(float(interval.width.max()))
            for name, bound in bounds.items():
                assert bool(torch.isfinite(bound).all()), name
                assert bool((bound <= prop.margins(values[prepared.plan.output])).all()), name
    assert min(widths) < 0.1  # the first nodes are bounded tightly, so that a miss would show
    assert bool((bounds["crown-ibp"] > bounds["ibp"]).all())
    assert bool((bounds["crown-ibp"].amin(0) <= attacked.margin).all())


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES[:1])  # the deeper ones: benchmarks/resnets.py
def test_crown_proves_labels_of_a_trained_resnet_on_small_pictures(shared, pictures, name):
    """The networks take any size: at 8 x 8 pixels, full CROWN comes within a twentieth of the attack."""
    x = F.avg_pool2d(pictures[0][:1], 4)
    module = trained(shared / FOLDER / name, 8)
    network = Network.capture(module, (3, 8, 8))
    with torch.no_grad():
        y = module(x).argmax(1)
        ball, prop = LpBall(x, 1e-4, clip=(0.0, 1.0)), robust(y, 10)
        crown, proven = (
            Within(bounders["crown"](), Budget())(network.prepare(covers=covers), ball, prop.rows())
            for covers in ("nothing", "module")
        )
        nominal = prop.margins(module(x))
    attacked = PGD(steps=20, targets=3, loss="margin")(network.module, ball, prop, torch.Generator().manual_seed(0))
    assert float(attacked.margin) < float(nominal.amin())
    assert 0.95 * float(attacked.margin) < float(crown.amin()) <= float(attacked.margin) + 1e-5
    assert 0 < float(proven.amin()) < float(crown.amin())  # rounding through 20 layers takes a fifth of it
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        least = torch.stack([prop.margins(module(ball.sample(generator))) for _ in range(30)]).amin(0)
    assert bool((crown <= least + 1e-5 * (1 + least.abs())).all())
    assert bool((proven <= least).all())
