"""Pictures in the layout of a file, and normalisation in front of it: said by the user, never guessed. Oracle: onnxruntime."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import epsball
from epsball.cli.app import run
from epsball.data.user import add
from epsball.errors import BadConfig, BadShape
from epsball.models.opened import open_model
from onnx_files import answer, helper, network, save

SHAPE = (3, 5, 4)  # channels, height, width


def _weights(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def _classifier(declared):
    """A classifier whose first layer sees every pixel with a weight of its own, so that their order matters."""
    nodes = [helper.make_node("Flatten", ["x"], ["h"]), helper.make_node("Gemm", ["h", "w"], ["y"])]
    return network(nodes, [1, *declared], {"w": _weights(60, 4)})


@pytest.fixture
def last(tmp_path):
    """A file whose pictures have their channels last."""
    return save(_classifier((5, 4, 3)), tmp_path / "last.onnx")


@pytest.fixture
def pictures():
    return torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def _channels_last(x):
    return np.ascontiguousarray(np.moveaxis(x.numpy(), 1, 3))


@pytest.mark.slow
def test_a_layout_permutes_pictures_as_a_layer(last, pictures):
    net = epsball.load(last, layout="nhwc")
    assert net.input_shape == SHAPE
    wanted = answer(_classifier((5, 4, 3)), _channels_last(pictures))
    assert np.allclose(net.module(pictures).detach().numpy(), wanted, atol=1e-5)
    bounds = epsball.bounds(net, epsball.Box(pictures, 0.0, (0.0, 1.0)))
    assert np.allclose(bounds.lower.numpy(), wanted, atol=5e-3)  # less what rounding may do


@pytest.mark.parametrize("declared", [(5, 4, 3), (60,), (1, 60, 1), (20, 3)])
def test_the_same_pixels_in_another_order_are_not_read_without_a_layout(tmp_path, declared, pictures):
    path = save(_classifier(declared), tmp_path / "net.onnx")
    with pytest.raises(BadShape, match="declares inputs") as caught:
        open_model(path, SHAPE)
    assert "nhwc" in str(caught.value)
    from epsball.models.opened import Reading

    module, shape = open_model(path, SHAPE, Reading("nhwc"))
    assert shape == SHAPE
    assert np.allclose(module(pictures).detach().numpy(), answer(_classifier(declared), _channels_last(pictures)), atol=1e-5)


@pytest.mark.parametrize("declared", [(3, 5, 4), (60,), (3, 20), (1, 60, 1)])
def test_channels_first_is_said_where_a_file_is_flat(tmp_path, declared, pictures):
    from epsball.models.opened import Reading

    path = save(_classifier(declared), tmp_path / "net.onnx")
    module, shape = open_model(path, SHAPE, Reading("nchw"))
    assert shape == SHAPE
    assert np.allclose(module(pictures).detach().numpy(), answer(_classifier(declared), pictures.numpy()), atol=1e-5)


def test_a_layout_that_the_shapes_deny_is_refused(last, tmp_path):
    from epsball.models.opened import Reading

    for layout, shape in (("nchw", SHAPE), ("nhwc", (60,))):
        with pytest.raises(BadShape, match=r"channels|layout"):
            open_model(last, shape, Reading(layout))
    with pytest.raises(BadConfig, match="nhcw"):
        epsball.load(last, layout="nhcw")
    with pytest.raises(BadShape, match="how high and wide"):
        epsball.load(save(_classifier((60,)), tmp_path / "flat.onnx"), layout="nhwc")


@pytest.mark.parametrize("declared", [(8, 8), (64,), (1, 64, 1), (8, 8, 1), (1, 8, 8)])
def test_pictures_of_one_channel_have_one_order(tmp_path, declared):
    nodes = [helper.make_node("Flatten", ["x"], ["h"]), helper.make_node("Gemm", ["h", "w"], ["y"])]
    model = network(nodes, [1, *declared], {"w": _weights(64, 3)})
    module, shape = open_model(save(model, tmp_path / "net.onnx"), (1, 8, 8))
    x = torch.rand(2, 1, 8, 8)
    assert shape == (1, 8, 8)
    assert np.allclose(module(x).detach().numpy(), answer(model, x.numpy()), atol=1e-5)


@pytest.mark.slow
def test_normalisation_is_a_layer_in_front_of_the_layout(last, pictures):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    net = epsball.load(last, layout="nhwc", mean=mean, std=std)
    scaled = (_channels_last(pictures) - np.float32(mean)) / np.float32(std)
    wanted = answer(_classifier((5, 4, 3)), scaled)
    assert np.allclose(net.module(pictures).detach().numpy(), wanted, atol=1e-4)
    with pytest.raises(BadConfig, match="mean without"):
        epsball.load(last, layout="nhwc", mean=mean)
    with pytest.raises(BadConfig, match="2 means"):
        epsball.load(last, layout="nhwc", mean=mean[:2], std=std[:2])


@pytest.fixture
def data(tmp_path, monkeypatch, pictures):
    """A set whose labels are the answers of the channels-last file on pictures with channels first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x = torch.rand(240, *SHAPE, generator=torch.Generator().manual_seed(1))
    y = answer(_classifier((5, 4, 3)), _channels_last(x)).argmax(1)
    np.savez(tmp_path / "set.npz", x_train=x[:200].numpy(), y_train=y[:200], x_test=x[200:].numpy(), y_test=y[200:])
    add("pixels", tmp_path / "set.npz")
    return "pixels"


def _summary(capsys, *arguments):
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


VERBS = (
    ("attack", "--eps", "0"),
    ("verify", "--eps", "0", "--method", "ibp"),
    ("certify", "--sigma", "0.01", "--index", ":2", "--set", "cap=200"),
    ("bounds",),
    ("analyse", "radius", "--index", ":2"),
)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[-1] if verb[0] == "analyse" else verb[0])
def test_every_verb_asks_for_the_layout_and_takes_it(verb, data, last, tmp_path, capsys):
    name = verb[:2] if verb[0] == "analyse" else verb[:1]
    rest = [*verb[len(name) :], "--data", data]
    out = ["--out", str(tmp_path / "out")] if verb[0] in ("verify", "certify") else []
    assert run([*name, str(last), *rest, *out]) == 2
    assert "--layout" in capsys.readouterr().err
    found = _summary(capsys, *name, str(last), *rest, *out, "--layout", "nhwc")
    if "accuracy" in found:
        assert found["accuracy"]["clean"]["value"] == 1.0  # as the labels were made


@pytest.mark.slow
def test_a_normalised_file_from_the_command_line(data, last, capsys):
    """Weights and labels are of plain pictures: a normalisation that undoes nothing changes answers, the identity does not."""
    line = ["attack", str(last), "--data", data, "--layout", "nhwc", "--eps", "0"]
    same = _summary(capsys, *line, "--mean", "0", "--std", "1")
    other = _summary(capsys, *line, "--mean", "0.9,0,0", "--std", "0.1,1,1")
    assert same["accuracy"]["clean"]["value"] == 1.0
    assert other["accuracy"]["clean"]["value"] < 0.9
    assert run([*line, "--mean", "0.5"]) == 2
    assert run([*line, "--mean", "a", "--std", "1"]) == 2


@pytest.mark.slow
def test_one_output_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Labels are 1 where the score is above 0.5; the exact radius of a linear score is |score - 0.5| / |w|_1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x = np.random.default_rng(0).random((60, 2)).astype(np.float32)
    w = np.float32([[1.0], [0.5]])
    score = (x @ w)[:, 0]
    y = (score > 0.5).astype(np.int64)
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])
    add("line", tmp_path / "set.npz")
    path = save(network([helper.make_node("Gemm", ["x", "w"], ["y"])], [1, 2], {"w": w}), tmp_path / "net.onnx")
    line = ["verify", str(path), "--data", "line", "--eps", "0.05", "--out", str(tmp_path / "v"), "--threshold", "0.5"]
    found = _summary(capsys, *line)
    moved = 0.05 * 1.5
    wanted = int((np.abs(score[:40] - 0.5) > moved).sum())  # the range of inputs cuts some balls: at least these
    assert found["accuracy"]["clean"]["value"] == 1.0
    assert wanted <= found["status"]["verified"] <= wanted + 4
    assert found["status"]["verified"] + found["status"]["falsified"] == 40
    assert run([*line[:-2], "--threshold", "nan", "--out", str(tmp_path / "w")]) == 2
