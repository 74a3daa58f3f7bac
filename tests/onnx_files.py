"""Small ONNX networks for tests, built node by node, and what onnxruntime says of them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def network(nodes, shape, constants=None, opset=17, output="y"):
    """A model of one float input `x` and one output; constants are arrays by name."""
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(output, FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one(op, shape, constants=(), opset=17, **attrs):
    """A model of one node that reads `x` and then the constants (None: left out)."""
    named = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    inputs = ["x", *(f"c{i}" if c is not None else "" for i, c in enumerate(constants))]
    return network([helper.make_node(op, inputs, ["y"], name=f"the_{op}", **attrs)], shape, named, opset)


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def answer(model, x):
    """What onnxruntime computes, one sample after the other, flat."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    shape = [1 if not isinstance(n, int) else n for n in given.shape]
    rows = [session.run(None, {given.name: np.ascontiguousarray(row, np.float32).reshape(shape)})[0].reshape(-1) for row in x]
    return np.stack(rows)


__all__ = ["FLOAT", "answer", "helper", "network", "one", "onnx", "save"]
