"""Files of one operator over the combinations of their attributes: what is computed is what two executors compute."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from onnx import defs

import onnx_sweep
from epsball.errors import BadCapture, BadFile, EpsballError, UnsupportedOp
from epsball.graph.onnx import load_onnx
from epsball.graph.onnx import read as reader
from epsball.graph.onnx.calls import HOST, TABLE
from epsball.graph.onnx.forms import FORMS, NEWEST

# refused, where both executors run the file: by the operator, and what the error says
REASONS = {
    "reduces the batch axis": "a reduction of all axes mixes the samples of a batch",
    "takes the batch in": "so does a softmax over axis 0",
    "it is in training mode": "its result is random, or follows the batch's statistics",
    "padding that differs between the two sides": "a maximum needs padding by minus infinity, which has no bounds",
    "a dilated average": "never covered",
    "attribute antialias = 1": "never covered",
    "attribute keep_aspect_ratio_policy": "never covered",
    "padding [": "an output shape larger than the whole transposed convolution",
    "give an output of shape (2, 0)": "a network without outputs",
    "cast to": "bounds hold for one precision throughout, and whole numbers have none",
    "give an output of shape (8, 30)": "the batch merged with another axis",
}
BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "Less", "And", "Or")
# computed rightly at 6133946 by what at least one executor says, and refused now: Slices that leave nothing, casts to float64 at
# the end, and paddings by `wrap` that are negative on one side, which onnx.reference does not run
GIVEN_UP = ("Slice 17 5", "Cast 9 1 to=11", "Cast 13 1 to=11", "Cast 21 1 to=11", "Pad 19 2 mode=wrap")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """For each file: the two executors' answers, and ours or the error."""
    path, answers = tmp_path_factory.mktemp("sweep") / "net.onnx", {}
    for name, model in onnx_sweep.cases():
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
        x = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
        runs = [onnx_sweep.attempt(run, model, x) for run in (onnx_sweep.run_onnxruntime, onnx_sweep.run_reference)]
        path.write_bytes(model.SerializeToString())
        try:
            with torch.no_grad():
                ours = load_onnx(path)(torch.from_numpy(x)).numpy().astype(np.float64)
        except EpsballError as error:
            ours = error
        answers[name] = (*runs, ours)
    return answers


def test_what_is_computed_is_what_the_executors_compute(found):
    assert len(found) > 1000
    wrong = []
    for name, (first, second, ours) in found.items():
        if isinstance(ours, EpsballError):
            continue
        agreeing = onnx_sweep.same(first, second)
        right = [onnx_sweep.same(ours, other) for other in (first, second)]
        if not (all(right) if agreeing else any(right)):
            wrong.append(name)
    assert not wrong


def test_most_of_what_both_executors_run_is_computed(found):
    both = {name: ours for name, (first, second, ours) in found.items() if first is not None and second is not None}
    computed = [name for name, ours in both.items() if not isinstance(ours, EpsballError)]
    assert len(computed) >= 0.85 * len(both)


def test_a_refusal_has_a_stated_reason(found):
    both = {name: ours for name, (first, second, ours) in found.items() if first is not None and second is not None}
    refused = {name: ours for name, ours in both.items() if isinstance(ours, EpsballError)}
    unexplained = [f"{name}: {error.what}" for name, error in refused.items() if not any(r in error.what for r in REASONS)]
    assert not unexplained
    assert all(f"({name.split()[0]})" in str(error) or isinstance(error, (BadFile, BadCapture)) for name, error in refused.items())


def test_what_the_first_reader_computed_is_still_computed(found):
    """All forms but those given up, of the operators that it covered: a refusal is one that it had, or stated above."""
    stated = [r for r, why in REASONS.items() if why != "never covered"]
    for name, (first, second, ours) in found.items():
        if isinstance(ours, EpsballError) and first is not None and second is not None:
            covered_then = name.startswith(GIVEN_UP) or any(
                r in ours.what for r in (*stated, "dilated", "antialias", "keep_aspect")
            )
            assert covered_then, (name, ours.what)


@pytest.mark.parametrize("op", sorted({*TABLE, *HOST, "Constant"}))
def test_the_table_lists_every_input_and_attribute_of_an_operator(op):
    """Whatever ONNX's schema has in any version that is read stands in the table, or is refused: named here."""
    unread = {"sparse_value", "value_string", "value_strings"} if op == "Constant" else {"axis"} if op in BROADCAST else set()
    form = FORMS[op]
    versions = [s for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
    read = [s for s in versions if form.oldest <= s.since_version <= min(form.newest, NEWEST)]
    assert read
    for schema in read:
        known = {*form.reads.split(), *form.only}
        assert set(schema.attributes) - known - {"consumed_inputs"} <= unread, schema.since_version
        assert "..." in form.inputs or schema.max_input <= len(form.inputs.split())


def test_a_table_lists_nothing_that_no_operator_has():
    for op, form in FORMS.items():
        schemas = [s for s in defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
        assert {*form.reads.split(), *form.only} <= {name for s in schemas for name in s.attributes} | {"num_outputs"}, op
    assert set(FORMS) == {*TABLE, *HOST, "Constant"}


TWICE = [None, np.array([1, 1, 2, 2], np.float32)]
ONES = np.ones(3, np.float32)


def _resize(**attrs):
    return onnx_sweep.one("Resize", [1, 2, 4, 4], TWICE, 19, **attrs)


def _mask():
    node = onnx_sweep.helper.make_node("Dropout", ["x"], ["y", "mask"], name="the_Dropout")
    return onnx_sweep.network([node], [1, 6])


UNREAD = {
    "unknown value": ("Resize", "antialias = 1", _resize(antialias=1)),
    "mode": ("Resize", "tf_crop", _resize(coordinate_transformation_mode="tf_crop_and_resize")),
    "training": (
        "BatchNormalization",
        "training_mode = 1",
        onnx_sweep.one("BatchNormalization", [1, 3, 4], [ONES] * 4, 15, training_mode=1),
    ),
    "not in this set": ("ReduceMean", "no attribute 'axes'", onnx_sweep.one("ReduceMean", [1, 3, 4], opset=18, axes=[1])),
    "too new": ("Gelu", "operator set 17", onnx_sweep.one("Gelu", [1, 6], opset=17)),
    "too old": ("Add", "version 1", onnx_sweep.one("Add", [1, 3], [ONES], 1)),
    "broadcast": ("Add", "broadcast = 1", onnx_sweep.one("Add", [1, 3, 4], [ONES], 6, broadcast=1, axis=1)),
    "another type": ("Softmax", "another type", onnx_sweep.one("Softmax", [1, 6], axis=1.0)),
    "missing": ("Concat", "'axis'", onnx_sweep.one("Concat", [1, 6])),
    "second result": ("Dropout", "result 2", _mask()),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_refused_by_operator_attribute_and_node(name, tmp_path):
    op, what, model = UNREAD[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises((UnsupportedOp, BadFile)) as raised:
        load_onnx(path)
    assert f"`{op}`" in raised.value.what
    assert what in raised.value.what
    assert f"the_{op}" in raised.value.where


def _misread(call):
    """A reader that takes every leaky ReLU for one of slope 0.01."""
    return torch.nn.functional.leaky_relu(call.tensor(0), 0.01)


@pytest.mark.parametrize("executor", ["onnxruntime", "onnx.reference"])
def test_a_misread_operator_is_found_by_the_executor(executor, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_sweep.one("LeakyRelu", [1, 6], alpha=0.3).SerializeToString())
    if executor != "onnxruntime":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    load_onnx(path)
    monkeypatch.setitem(TABLE, "LeakyRelu", _misread)
    with pytest.raises(BadCapture, match=executor) as raised:
        load_onnx(path)
    assert "LeakyRelu" in raised.value.fix


def test_a_file_that_no_executor_runs_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_sweep.one("Relu", [1, 6]).SerializeToString())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx.reference", None)
    with pytest.raises(BadCapture, match="no other program runs this file"):
        load_onnx(path)


def test_float64_is_compared_in_float64(tmp_path):
    """A weight off by 1e-9 is found."""
    weight = np.linspace(-1, 1, 18).reshape(6, 3)
    model = onnx_sweep.network([onnx_sweep.helper.make_node("MatMul", ["x", "w"], ["y"])], [1, 6], {"w": weight})
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = 11
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    module = load_onnx(path)
    assert module(torch.ones(1, 6, dtype=torch.float64)).dtype == torch.float64
    with torch.no_grad():
        next(module.parameters()).add_(1e-9)
    with pytest.raises(BadCapture, match="computes something else"):
        reader.agree(module, model.SerializeToString())
