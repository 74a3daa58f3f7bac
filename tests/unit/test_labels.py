"""Labels of every integer type mean the same; what is no label is named; one output is two classes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import epsball
from epsball.data.base import Dataset, digest
from epsball.errors import BadConfig, BadData, BadShape
from epsball.examples import Examples
from epsball.problem.labels import as_labels
from epsball.problem.property import Property, robust, targeted
from epsball.smoothing.attack import SmoothPGD

INTEGERS = (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32, torch.int64)


def _linear(weights: list[list[float]], bias: list[float]) -> nn.Module:
    layer = nn.Linear(len(weights[0]), len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor(bias))
    return layer


@pytest.fixture
def three() -> nn.Module:
    """Logits (x0, x1, 0.1): the class is read off the inputs by hand."""
    return _linear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.0, 0.0, 0.1])


@pytest.fixture
def score() -> nn.Module:
    """One output, 2 x0 - x1."""
    return _linear([[2.0, -1.0]], [0.0])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_rows_of_a_property_are_those_of_plain_numbers(dtype):
    labels, classes = [1, 0, 2, 1], 3
    wanted = [[[float(k == y) - float(k == other) for k in range(classes)] for y, other in pairs] for pairs in _others(labels, 3)]
    assert robust(torch.tensor(labels).to(dtype), classes).C.tolist() == wanted
    one = targeted(torch.tensor([1, 0]).to(dtype), torch.tensor([2, 1]).to(dtype), 3)
    assert one.C.tolist() == [[[0.0, 1.0, -1.0], [1.0, -1.0, 0.0]]]


def _others(labels: list[int], classes: int) -> list[list[tuple[int, int]]]:
    """For each row the pairs (label, other class) of all samples."""
    return [[(y, [k for k in range(classes) if k != y][row]) for y in labels] for row in range(classes - 1)]


def test_truth_values_are_zero_and_one():
    labels = torch.tensor([True, False, True])
    assert robust(labels, 2).C.tolist() == [[[-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]]]
    assert as_labels(labels).dtype == torch.int64


@pytest.mark.slow
@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_verb_takes_every_integer(three, dtype):
    x = torch.tensor([[0.9, 0.2], [0.2, 0.9], [0.6, 0.5]])
    y = torch.tensor([0, 1, 1]).to(dtype)
    assert [v.status for v in epsball.verify(three, x, y, eps=0.1)] == ["verified", "verified", "misclassified"]
    assert epsball.attack(three, x, y, eps=0.1).success.tolist() == [False, False, True]
    radii = epsball.radius(three, x, y)
    assert torch.allclose(radii, torch.tensor([0.35, 0.35, 0.0]), atol=1e-3)
    smoothed = epsball.smooth(three, sigma=0.1, classes=3)
    assert SmoothPGD(steps=2, votes=100, alpha=0.1)(smoothed, x[:2], y[:2], 0.05).success.tolist() == [False, False]
    Examples(x, y).inputs()
    assert Examples(x, y).y.tolist() == [0, 1, 1]
    assert Examples(x, y).y.dtype == torch.int64


@pytest.mark.parametrize(
    ("y", "error", "named"),
    [
        (torch.tensor([[0, 1, 0], [1, 0, 0]]), BadShape, "one-hot"),
        (torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), BadShape, "one-hot"),
        (torch.tensor([0.0, 1.0]), BadShape, "float32"),
        (torch.tensor([0, 3], dtype=torch.uint8), BadData, r"0\.\.2"),
        (torch.tensor([0, 255], dtype=torch.uint8), BadData, "255"),
        (torch.tensor([0, -1], dtype=torch.int8), BadData, "-1"),
        (torch.tensor([0]), BadShape, "2 inputs and 1 label"),
        (torch.tensor(1), BadShape, "int64"),
        ([0.5, 1.0], BadShape, "float"),
        (["a", "b"], BadData, "no numbers"),
    ],
)
def test_what_is_no_label_is_named_at_every_door(three, y, error, named):
    x = torch.tensor([[0.9, 0.2], [0.2, 0.9]])
    for door in (
        lambda: epsball.verify(three, x, y, eps=0.1),
        lambda: epsball.attack(three, x, y, eps=0.1),
        lambda: epsball.radius(three, x, y),
    ):
        with pytest.raises(error, match=named):
            door()


def test_a_property_is_never_empty():
    with pytest.raises(BadShape, match="at least one row"):
        Property(torch.zeros(0, 2, 3))
    with pytest.raises(BadShape, match="d "):
        Property(torch.zeros(2, 3, 4), torch.zeros(3, 2))
    with pytest.raises(BadShape, match="without an output"):
        robust(torch.tensor([0]), 0)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.0, 0.25])
def test_one_output_is_a_binary_classifier_by_its_sign(score, threshold):
    """2 x0 - x1 moves by 3 eps over a linf ball: whether it can cross the threshold is a sum."""
    generator = torch.Generator().manual_seed(0)
    x, y, eps = torch.rand(60, 2, generator=generator), torch.arange(60) % 2, 0.07
    value = [2 * a - b for a, b in x.double().tolist()]
    side = [v - threshold if label else threshold - v for v, label in zip(value, y.tolist(), strict=True)]
    wanted = ["verified" if s - 3 * eps > 0 else "falsified" if s > 0 else "misclassified" for s in side]
    assert {"verified", "falsified", "misclassified"} == set(wanted)
    found = epsball.verify(score, x, y.bool(), eps=eps, clip=None, threshold=threshold)
    assert [v.status for v in found] == wanted
    attacked = epsball.attack(score, x, y, eps=eps, clip=None, threshold=threshold)
    assert attacked.success.tolist() == [status != "verified" for status in wanted]
    assert attacked.y.shape == (60, 1)  # the network's own output
    for method in ("crown", "lipschitz", "lipschitz-local", "envelope"):
        radii = epsball.radius(score, x, y, clip=None, method=method, threshold=threshold).tolist()
        for radius, s in zip(radii, side, strict=True):
            exact = max(0.0, s / 3)
            assert 0.97 * min(exact, 1.0) - 1e-4 <= radius <= exact + 1e-6, method


def test_one_output_under_noise(score):
    smoothed = epsball.smooth(score, sigma=0.01, classes=1, threshold=0.5)
    found = smoothed.predict(torch.tensor([[0.9, 0.1], [0.2, 0.2]]), n=200)
    assert [p.label for p in found] == [1, 0]


@pytest.mark.slow
def test_one_output_is_trained_by_its_logistic_loss():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(400, 2, generator=generator)
    y = x[:, 0] > x[:, 1]
    parts = Examples(x[:300], y[:300]), Examples(x[300:], y[300:])
    data = Dataset("line", *parts, 2, "ours", (0.0,), (1.0,), (0.0, 1.0), digest(*parts))
    module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    trained = epsball.train(module, data, recipe="standard", epochs=30, batch=32, lr=0.03)
    assert trained.classes == 2
    with torch.no_grad():
        right = (module(x[300:])[:, 0] > 0) == y[300:]
    assert float(right.float().mean()) > 0.9
    assert sum(v.status == "verified" for v in epsball.verify(module, x[300:], y[300:], eps=0.01)) > 60


@pytest.mark.parametrize("threshold", [0.5, float("nan")])
def test_a_threshold_beside_several_outputs_or_no_number_is_refused(three, score, threshold):
    net = three if threshold == 0.5 else score
    x, y = torch.tensor([[0.9, 0.2]]), torch.tensor([0])
    for door, more in itertools.product((epsball.verify, epsball.attack), ({"eps": 0.1},)):
        with pytest.raises(BadConfig, match="threshold"):
            door(net, x, y, threshold=threshold, **more)
    with pytest.raises(BadConfig, match="threshold"):
        epsball.smooth(net, sigma=0.1, classes=len(net.bias), threshold=threshold)


def test_an_output_without_its_axis_is_named():
    class Squeezed(nn.Module):
        def forward(self, x):
            return x.sum(1)

    with pytest.raises(BadShape, match=r"score \(B, 1\)"):
        epsball.attack(Squeezed(), torch.rand(2, 3), torch.tensor([0, 1]), eps=0.1)
