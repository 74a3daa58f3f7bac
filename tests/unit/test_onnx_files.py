"""ONNX files that cannot be used: each is one error that names the place and the fix, and nothing outside the file is opened."""

from __future__ import annotations

import gzip
import resource
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from onnx import TensorProto

import epsball
from epsball.bounding.base import bounders
from epsball.cli.app import run
from epsball.errors import BadFile, EpsballError, MissingExtra, UnsupportedOp
from epsball.graph.onnx import load_onnx
from onnx_files import helper, network, one, save


def weights(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def classifier(shape=(1, 1, 8, 8)):
    nodes = [helper.make_node("Flatten", ["x"], ["h"]), helper.make_node("Gemm", ["h", "w", "b"], ["a"], name="first"),
             helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Gemm", ["r", "v"], ["y"], name="last")]  # fmt: skip
    return network(nodes, list(shape), {"w": weights(64, 12), "b": weights(12), "v": weights(12, 10)})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save(classifier(), tmp_path_factory.mktemp("onnx") / "net.onnx")


@pytest.mark.slow
def test_a_file_with_a_fixed_batch_is_loaded_bounded_and_verified(file):
    net = epsball.load(file)
    assert net.input_shape == (1, 8, 8)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = net.module(x).argmax(1)
    bounds = epsball.bounds(net, epsball.Box(x, 0.01, (0.0, 1.0)))
    assert bool(bounds.contains(net.module(x)).all())
    assert any(v.status == "verified" for v in epsball.verify(net, x, y, eps=0.002))
    assert set(bounders) >= {"ibp", "crown"}


@pytest.mark.slow
def test_every_verb_takes_an_onnx_file_and_reads_flat_inputs(file, tmp_path, capsys):
    flat = save(classifier((1, 64, 1)), tmp_path / "flat.onnx")
    packed = tmp_path / "packed.onnx.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    for path in (flat, packed):
        assert run(["bounds", str(path), "--data", "digits", "--index", "0:2", "--eps", "0.01"]) == 0
    assert (
        run(["verify", str(flat), "--data", "digits", "--index", "0:4", "--eps", "0.01", "--out", str(tmp_path / "v"), "--quiet"])
        == 0
    )
    assert run(["bounds", str(flat), "--data", "mnist", "--index", "0"]) == 2
    assert "take" in capsys.readouterr().err


def _external():
    model = classifier()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return model


def _two_inputs():
    model = one("Relu", [1, 6])
    model.graph.input.append(helper.make_tensor_value_info("z", 1, [1, 6]))
    return model


def _negative():
    model = classifier()
    model.graph.initializer[0].dims[0] = -64
    return model


def _short():
    model = classifier()
    model.graph.initializer[0].raw_data = b"1234"
    return model


def _foreign():
    model = one("Relu", [1, 6])
    model.graph.node[0].domain = "com.example"
    return model


def _huge():
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])]
    return network(nodes, [1, 6], {"n": np.array([2**40, 6])})


def _huge_pad():
    return one("Pad", [1, 3, 4], [np.array([0, 0, 0, 0, 2**30, 2**30])])


def _branch():
    return network([helper.make_node("If", ["c"], ["y"], name="choice")], [1, 6], {"c": np.array(True)})


def _chain(op, count, **attrs):
    """Each node reads the one before it, twice if it takes two."""
    names = ["x", *(f"h{k}" for k in range(count))]
    twice = 2 if op in {"Concat", "Add"} else 1
    nodes = [helper.make_node(op, [a] * twice, [b], **attrs) for a, b in pairwise(names)]
    return network([*nodes, helper.make_node("ReduceSum", [names[-1], "axes"], ["y"])], [1, 6], {"axes": np.array([1])})


def _host_chain():
    names = ["s", *(f"h{k}" for k in range(29))]
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        *(helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)),
    ]
    return network([*nodes, helper.make_node("Reshape", ["x", names[-1]], ["y"])], [1, 6])


def _wide_gather():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Expand", ["s", "e"], ["t"]),
             helper.make_node("Expand", ["zero", "n"], ["i"]), helper.make_node("Gather", ["t", "i"], ["u"]),
             helper.make_node("Reshape", ["x", "u"], ["y"])]  # fmt: skip
    return network(nodes, [1, 6], {"e": np.array([10, 10**4, 2]), "n": np.array([10**6]), "zero": np.array([0])})


def _twice_a_graph():
    other = one("Neg", [1, 6])
    other.ClearField("opset_import")
    return one("Relu", [1, 6]).SerializeToString() + other.SerializeToString()


def _initializer_twice():
    model = one("Add", [1, 6], [weights(6)])
    model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    return model


def _overridable():
    model = one("Add", [1, 6], [weights(6)])
    model.graph.input.append(helper.make_tensor_value_info("c0", 1, [6]))
    return model


def _raw_and_typed():
    model = one("Add", [1, 6], [weights(6)])
    model.graph.initializer[0].float_data.extend([1.0] * 6)
    return model


def _two_sets():
    model = one("Relu", [1, 6])
    model.opset_import.append(helper.make_opsetid("", 9))
    return model


def _newer_set():
    model = one("Relu", [1, 6])
    model.opset_import[0].version = 1000
    return model


def _attribute_twice():
    model = one("LeakyRelu", [1, 6], alpha=0.3)
    model.graph.node[0].attribute.add().CopyFrom(helper.make_attribute("alpha", 0.5))
    return model


def _two_constants():
    nodes = [helper.make_node("Constant", [], ["c"], value_float=1.0, value_int=2), helper.make_node("Add", ["x", "c"], ["y"])]
    return network(nodes, [1, 6])


def _cast_inside(to):
    nodes = [helper.make_node("Cast", ["x"], ["h"], to=to, name="narrow"), helper.make_node("Cast", ["h"], ["y"], to=1)]
    return network(nodes, [1, 6])


def _on_data(op):
    nodes = [helper.make_node(op, ["x"], ["h"], name="/body/whole"), helper.make_node("Relu", ["h"], ["y"])]
    return network(nodes, [1, 6])


BAD = {
    "doublings": (lambda: _chain("Concat", 29, axis=1), BadFile, "numbers in all of them", "damaged or hostile"),
    "doublings of shapes": (_host_chain, BadFile, "whole numbers", "damaged"),
    "wide gather": (_wide_gather, BadFile, "asks for a value of shape", "damaged or hostile"),
    "3000 nodes": (lambda: _chain("Relu", 3000), UnsupportedOp, "3001 nodes", "onnxsim"),
    "two graphs": (_twice_a_graph, BadFile, "two graphs", "one file for each"),
    "initializer twice": (_initializer_twice, BadFile, "two initializers are named 'c0'", "export"),
    "overridable": (_overridable, BadFile, "'c0' is an input with a default", "keep_initializers_as_inputs=False"),
    "raw and typed": (_raw_and_typed, BadFile, "holds its numbers twice", "export"),
    "two operator sets": (_two_sets, BadFile, "2 operator sets", "export"),
    "newer operator set": (_newer_set, BadFile, "operator set 1000", "older operator set"),
    "attribute twice": (_attribute_twice, BadFile, "an attribute twice", "export"),
    "two constants": (_two_constants, BadFile, "a constant with 2 values", "export"),
    "cast to half": (lambda: _cast_inside(10), UnsupportedOp, "`Cast`: values of torch.float32 are cast", "throughout"),
    "cast to double": (lambda: _cast_inside(11), UnsupportedOp, "cast to torch.float64", "throughout"),
    "cast to integers": (lambda: _cast_inside(7), UnsupportedOp, "cast to ONNX's type 7", "throughout"),
    "floor of data": (lambda: _on_data("Floor"), UnsupportedOp, "`Floor`: it is computed on shapes", "no input"),
    "not of data": (lambda: _on_data("Ceil"), UnsupportedOp, "`Ceil`", "no input"),
    "external": (_external, BadFile, "another file", "onnx.save_model"),
    "two inputs": (_two_inputs, BadFile, "2 inputs", "extract_model"),
    "negative": (_negative, BadFile, "shape", "damaged"),
    "short": (_short, BadFile, "damaged tensor", "export"),
    "foreign": (_foreign, UnsupportedOp, "com.example", "standard operators"),
    "huge": (_huge, BadFile, "asks for a value of shape", "damaged or hostile"),
    "huge pad": (_huge_pad, BadFile, "asks for a value of shape", "damaged or hostile"),
    "branch": (_branch, UnsupportedOp, "`If`", "without branches"),
    "unknown": (lambda: one("Rellu", [1, 6]), UnsupportedOp, "`Rellu`", "did you mean 'Relu'"),
    "lstm": (
        lambda: one("LSTM", [1, 3, 4], [weights(1, 8, 4), weights(1, 8, 2)], hidden_size=2),
        UnsupportedOp,
        "LSTM",
        "unrolled",
    ),
    "unknown value": (lambda: network([helper.make_node("Add", ["x", "q"], ["y"])], [1, 6]), BadFile, "'q'", "export"),
    "no output": (lambda: network([helper.make_node("Relu", ["x"], ["z"])], [1, 6]), BadFile, "no node computes", "export"),
    "misfit": (lambda: one("Gemm", [1, 6], [weights(7, 2)]), BadFile, "cannot be run", "export"),
    "batch of 7": (lambda: one("Relu", [7, 6]), BadFile, "batch of 7", "free batch"),
    "free height": (lambda: one("Relu", [1, 3, "height", 4]), BadFile, "must be known", "fix every axis"),
    "tokens": (lambda: one("Gather", [1, 6], [weights(5, 2)]), UnsupportedOp, "the indices", "embedded words"),
    "batch reduced": (lambda: one("ReduceMean", [1, 6], axes=[0]), UnsupportedOp, "batch axis", "axes that start at 1"),
    "exponent": (
        lambda: network([helper.make_node("Pow", ["x", "x"], ["y"])], [1, 6]),
        UnsupportedOp,
        "constant number",
        "constant",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_one_clear_error(name, tmp_path):
    build, kind, what, fix = BAD[name]
    path, model = tmp_path / "bad.onnx", build()
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind) as raised:
        load_onnx(path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000
    )  # KiB: what the first import of torch's parts takes
    error = raised.value
    assert what in error.what
    assert fix in (error.fix or "")
    assert str(path) in (error.where or "")
    assert error.exit_code == 2


def test_an_operator_without_bounds_names_the_node(tmp_path):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("NonZero", ["h"], ["y"], name="/body/which")]
    path = save(network(nodes, [1, 6], {"w": weights(6, 3)}), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOp, match="/body/which") as raised:
        epsball.load(path)
    assert "constant indices" in raised.value.fix


def test_capture_names_the_node_of_a_form_without_bounds(tmp_path):
    nodes = [helper.make_node("Transpose", ["x"], ["y"], name="/body/moved", perm=[1, 0])]
    path = save(network(nodes, [1, 6]), tmp_path / "net.onnx")
    with pytest.raises(EpsballError):
        epsball.load(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"not a network", b"\x08\x08\x12"])
def test_files_that_are_no_networks(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(BadFile):
        load_onnx(path)
    with pytest.raises(BadFile):
        load_onnx(tmp_path / "none.onnx")
    (tmp_path / "net.onnx.gz").write_bytes(content)
    with pytest.raises(BadFile):
        load_onnx(tmp_path / "net.onnx.gz")


@pytest.mark.slow
def test_damaged_bytes_are_an_error_or_another_network(file, tmp_path):
    """Every error is this package's own, whatever byte is damaged."""
    whole = file.read_bytes()
    generator = np.random.default_rng(3)
    path = tmp_path / "damaged.onnx"
    header = len(whole) - 2600  # most of the rest is weights, where any byte is a number
    failed = 0
    for _ in range(400):
        data = bytearray(whole)
        for place in generator.integers(0, len(data) if generator.random() < 0.2 else 400, size=generator.integers(1, 5)):
            data[place] = generator.integers(0, 256)
        if generator.random() < 0.2:
            del data[generator.integers(0, header) :]
        path.write_bytes(bytes(data))
        try:
            load_onnx(path)
        except EpsballError:
            failed += 1
    assert failed > 100


def test_without_onnx_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"epsball\[onnx\]"):
        epsball.load(file)


def test_the_error_of_an_operator_on_data_names_it_and_its_node(tmp_path):
    with pytest.raises(UnsupportedOp) as raised:
        load_onnx(save(_on_data("Floor"), tmp_path / "net.onnx"))
    assert "`Floor`" in raised.value.what
    assert "missing" not in raised.value.what
    assert "/body/whole" in raised.value.where


def test_the_statistics_of_a_batch_norm_are_buffers(tmp_path):
    given = {"w": weights(3), "b": weights(3), "m": weights(3), "v": np.abs(weights(3)) + 1}
    nodes = [helper.make_node("Identity", ["v"], ["shared"]),
             helper.make_node("BatchNormalization", ["x", "w", "b", "m", "shared"], ["h"]),
             helper.make_node("Flatten", ["h"], ["y"])]  # fmt: skip
    module = load_onnx(save(network(nodes, [1, 3, 4], given), tmp_path / "net.onnx"))
    assert {name for name, _ in module.named_parameters()} == {"p_w", "p_b"}
    assert {name for name, _ in module.named_buffers()} == {"p_m", "p_v"}
    net = epsball.load(tmp_path / "net.onnx")
    assert torch.equal(net.params()["p_m"], torch.from_numpy(given["m"]))


def test_initializers_that_old_operator_sets_list_as_inputs_are_constants(tmp_path):
    """Before operator set 9 they had to be."""
    model = one("Add", [1, 6], [weights(6)], opset=8)
    model.ir_version = 6
    model.graph.input.append(helper.make_tensor_value_info("c0", 1, [6]))
    assert load_onnx(save(model, tmp_path / "net.onnx")).input_shape == (6,)
    model.ir_version = 3
    assert load_onnx(save(model, tmp_path / "net.onnx")).input_shape == (6,)
