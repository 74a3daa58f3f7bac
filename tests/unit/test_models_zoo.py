"""The architectures: published parameter counts, options, capture, and bounds that hold."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from torch import nn

from epsball.bounding.ibp import Ibp
from epsball.bounding.linear.crown import CrownIbp
from epsball.errors import BadConfig, BadFile, BadShape
from epsball.models.base import Architecture, Normalise, architecture, build, defaults, models
from epsball.models.lenet import MaxPool2d
from epsball.ops.network import Network
from epsball.problem.property import robust
from epsball.problem.sets import LpBall

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
TEXT = ("transformer-small",)  # of words: tests/unit/test_text.py
PICTURES = [name for name in models if name not in (*TEXT, "denoiser")]
UNPADDED = ("dm-medium", "dm-small")  # 8x8 is too small for them
DEEP = ("wide-resnet", "resnext")  # intervals grow by orders of magnitude under the default initialisation


def count(name, shape, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in build(name, shape, 10, **options).parameters())


# Published, in millions (Wong and Kolter; CTRAIN). CNN-5's 3.41 is the count without the 1,536 numbers of batch norm.
@pytest.mark.parametrize(
    ("name", "digits", "mnist", "cifar"),
    [("cnn-small", 3, 0.166, 0.215), ("cnn-5", 2, 3.41, 4.40), ("cnn-7", 2, 13.26, 17.19)],
)
def test_parameter_counts_are_the_published_ones(name, digits, mnist, cifar):
    found = [round(count(name, shape, batch_norm=False) / 1e6, digits) for shape in (MNIST, CIFAR)]
    assert found == [mnist, cifar]


def test_layers_add_up():
    assert count("cnn-small", MNIST) == (16 * 16 + 16) + (16 * 32 * 16 + 32) + (32 * 49 * 100 + 100) + (100 * 10 + 10)
    assert count("cnn-small", MNIST, batch_norm=True) == count("cnn-small", MNIST) + 2 * (16 + 32 + 100)
    convs = (27 + 1) * 64 + (9 * 64 + 1) * 64 + (9 * 64 + 1) * 128 + 2 * (9 * 128 + 1) * 128
    assert count("cnn-7", CIFAR, batch_norm=False) == convs + (128 * 16 * 16 + 1) * 512 + 513 * 10
    assert count("cnn-7", CIFAR) == count("cnn-7", CIFAR, batch_norm=False) + 2 * (64 + 64 + 128 * 3 + 512)
    assert count("mlp", (5,), hidden=(7,), batch_norm=True) == 5 * 7 + 7 + 14 + 7 * 10 + 10
    assert count("mlp", (5,), hidden=()) == 60


def test_batch_norm_stands_between_each_layer_and_its_relu():
    for name in ("cnn-small", "cnn-5", "cnn-7", "mlp"):
        kinds = [type(m).__name__ for m in build(name, DIGITS, 10, batch_norm=True)]
        before = [kinds[i - 1] for i, kind in enumerate(kinds) if kind == "ReLU"]
        assert all(kind.startswith("BatchNorm") for kind in before), kinds
        assert kinds[-2:] == ["ReLU", "Linear"]
        assert "BatchNorm" not in str(build(name, DIGITS, 10, batch_norm=False))


def alive(module: nn.Module) -> nn.Module:
    """Batch norm as after training: statistics and weights that differ by channel."""
    generator = torch.Generator().manual_seed(3)
    for m in module.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor, low, high in (
                (m.running_mean, -0.2, 0.2),
                (m.running_var, 0.5, 2),
                (m.weight, 0.5, 2),
                (m.bias, -0.2, 0.2),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return module.eval()


SHAPES = [("mlp", (7,)), ("cnn-small", (2, 9, 11)), ("cnn-5", (3, 12, 8)), ("cnn-7", (2, 7, 9)), ("resnet-small", (3, 9, 7))]


@pytest.mark.parametrize(("name", "shape"), [(name, (1, 16, 16) if name in UNPADDED else DIGITS) for name in PICTURES] + SHAPES)
@pytest.mark.slow
def test_every_model_is_captured_and_its_bounds_hold(name, shape):
    torch.manual_seed(1)
    width = {"width": 8} if "width" in defaults(name) else {}
    mean, std = [0.4] * shape[0], [0.3] * shape[0]
    module = alive(build(name, shape, 4, mean, std, **width)).double()
    network = Network.capture(module, shape)
    x = torch.rand(2, *shape, dtype=torch.float64)
    ball = LpBall(x, 3e-4 if name in DEEP else 0.03, clip=(0.0, 1.0))
    prop = robust(torch.tensor([1, 3]), 4, torch.float64)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        bounds = {type(m).__name__: m(network.prepare(), ball, prop.rows()) for m in (Ibp(), CrownIbp())}
        points = [x, *(ball.sample(generator) for _ in range(40)), ball.hull().lower, ball.hull().upper]
        least = torch.stack([prop.margins(module(p)) for p in points]).amin(0)
    for method, bound in bounds.items():
        assert bool(bound.isfinite().all())
        assert bool((bound <= least + 1e-9).all()), method
        assert bool((bound > least - 1e4).all()), method


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("shape", [MNIST, CIFAR, DIGITS])
def test_every_model_takes_the_usual_pictures(name, shape):
    width = {"width": 4} if "width" in defaults(name) else {}
    if name in UNPADDED and shape == DIGITS:
        with pytest.raises(BadShape, match="too small"):
            build(name, shape, 7)
        return
    module = build(name, shape, 7, **width)
    assert module(torch.rand(2, *shape)).shape == (2, 7)
    assert module.training


def test_lenet_is_what_the_docs_define():
    kinds = [type(m).__name__ for m in build("lenet", MNIST, 10)]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten"] + ["Linear", "ReLU"] * 2 + ["Linear"]
    assert count("lenet", MNIST) == 26 * 6 + (25 * 6 + 1) * 16 + 785 * 120 + 121 * 84 + 85 * 10
    assert count("lenet", MNIST, channels=(3,), hidden=()) == 26 * 3 + (14 * 14 * 3 + 1) * 10


@pytest.mark.slow
def test_the_pooling_of_lenet_is_that_of_torch():
    for shape in ((2, 3, 7, 6), (1, 1, 2, 9)):
        x = torch.randn(shape)
        assert torch.equal(MaxPool2d()(x), nn.functional.max_pool2d(x, 2))
        assert torch.equal(MaxPool2d()(x.requires_grad_()), nn.functional.max_pool2d(x, 2))
    ops = {node.op for node in Network.capture(build("lenet", DIGITS, 3), DIGITS).graph.nodes}
    assert "max_pool2d" in ops


def test_a_denoiser_keeps_the_shape_and_subtracts_what_it_predicts():
    module = build("denoiser", (3, 9, 7), 10, width=4, depth=4).eval()
    x = torch.rand(2, 3, 9, 7)
    kinds = [type(m).__name__ for m in module.noise]
    assert kinds == ["Conv2d", "ReLU"] + ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["Conv2d"]
    assert torch.equal(module(x), x - module.noise(x))
    nn.init.zeros_(module.noise[-1].weight)
    nn.init.zeros_(module.noise[-1].bias)
    assert torch.equal(module(x), x)


def test_wide_and_narrow():
    assert defaults("cnn-7") == {"width": 64, "batch_norm": True, "last_stride": 1}
    assert count("resnet-small", CIFAR, blocks=2) > count("resnet-small", CIFAR)
    assert count("cnn-7", CIFAR, width=32) < count("cnn-7", CIFAR) < count("cnn-7", CIFAR, width=128)


def test_normalisation_is_a_layer_of_buffers():
    module = build("mlp", (2, 3), 4, mean=(0.5, 0.1), std=(0.25, 2.0))
    layer = module.get_submodule("normalise")
    x = torch.tensor([[[0.5, 1.0, 0.0], [0.1, 2.1, -1.9]]])
    assert torch.allclose(layer(x), torch.tensor([[[0.0, 2.0, -2.0], [0.0, 1.0, -1.0]]]))
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"mean", "std"}
    assert torch.equal(module(x), module.get_submodule("body")(layer(x)))
    assert Normalise([0.5], [1.0], (3, 4, 4)).mean.shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "shape", "options", "error", "said"),
    [
        ("cnn7", MNIST, {}, BadConfig, "did you mean 'cnn-7'"),
        ("cnn-7", MNIST, {"wdth": 3}, BadConfig, "did you mean 'width'"),
        ("cnn-small", MNIST, {"zzz": 3}, BadConfig, r"it has \['batch_norm'\]"),
        ("cnn-7", MNIST, {"width": 0}, BadConfig, "'width' of the model 'cnn-7' cannot be 0"),
        ("cnn-7", MNIST, {"width": True}, BadConfig, "cannot be True"),
        ("cnn-7", MNIST, {"batch_norm": 1}, BadConfig, "cannot be 1"),
        ("mlp", MNIST, {"hidden": "256"}, BadConfig, "cannot be '256'"),
        ("mlp", MNIST, {"hidden": (256, 0)}, BadConfig, r"cannot be \(256, 0\)"),
        ("cnn-5", (784,), {}, BadShape, "takes inputs"),
        ("cnn-small", (1, 2, 2), {}, BadShape, "too small"),
        ("lenet", (1, 3, 3), {}, BadShape, "too small for 2 poolings"),
        ("denoiser", (784,), {}, BadShape, "takes inputs"),
        ("mlp", (), {}, BadShape, "a classifier of inputs"),
        ("mlp", MNIST, {"mean": (0.1, 0.2), "std": (1, 1)}, BadConfig, "2 means"),
        ("mlp", MNIST, {"mean": (0.1,), "std": (0,)}, BadConfig, "deviations above 0"),
        ("mlp", MNIST, {"mean": (float("nan"),), "std": (1,)}, BadConfig, "means must be finite"),
        ("mlp", MNIST, {"mean": (0.1,)}, BadConfig, "a mean without a deviation"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(name, shape, options, error, said):
    with pytest.raises(error, match=said):
        build(name, shape, 10, **options)


@pytest.mark.parametrize("name", PICTURES)
def test_an_architecture_survives_json(name):
    given = {"hidden": [9, 8]} if name == "mlp" else {}
    made = architecture(name, MNIST if name in UNPADDED else DIGITS, 10, [0.1], [0.5], **given)
    again = Architecture.from_dict(json.loads(json.dumps(made.as_dict())))
    assert again == made
    torch.manual_seed(0)
    first = made.build().state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(first[k], v) for k, v in again.build().state_dict().items())


@pytest.mark.parametrize("change", [{"name": None}, {"input_shape": "x"}, {"classes": None}, {"mean": 3}, {"options": 5}])
def test_a_malformed_description_is_a_bad_file(change):
    good = architecture("mlp", (5,), 3).as_dict()
    bad = {k: v for k, v in (good | change).items() if v is not None or k in ("mean", "std")}
    with pytest.raises(BadFile, match="malformed description"):
        Architecture.from_dict(bad, "here")
    with pytest.raises(BadFile):
        Architecture.from_dict([1, 2])


def test_every_registered_model_follows_the_protocol():
    for name, builder in models.items():
        parameters = inspect.signature(builder).parameters
        assert list(parameters)[:2] == ["input_shape", "classes"], name
        assert set(defaults(name)) == set(list(parameters)[2:])
