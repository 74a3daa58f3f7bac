"""An ONNX file as checked data. It executes nothing, opens no other file, and is not trusted in any size it names."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from epsball.errors import BadFile, EpsballError, MissingExtra, UnsupportedOp, did_you_mean
from epsball.graph.graph import Shape
from epsball.graph.onnx.calls import HOST, LIMIT, TABLE, Array, Layout
from epsball.graph.onnx.checked import agree
from epsball.graph.onnx.forms import given
from epsball.graph.onnx.module import OnnxNetwork, OnnxProgram, OnnxStep, measure
from epsball.graph.onnx.strict import one_graph, one_reading, one_value, operator_set

_LARGEST = 2**31 - 1  # bytes: protobuf's own limit
_EXTERNAL = 1  # TensorProto.DataLocation
_STANDARD = ("", "ai.onnx")
_TYPES = {1: np.dtype(np.float32), 11: np.dtype(np.float64)}
_NEAREST = {
    "If": "a network exported without branches", "Loop": "an unrolled loop", "Scan": "an unrolled loop",
    "LSTM": "the layer unrolled (torch.nn.LSTM in a module is covered)", "GRU": "the layer unrolled (torch.nn.GRU is covered)",
    "RNN": "the layer unrolled (torch.nn.RNN is covered)", "NonZero": "constant indices", "TopK": "Max",
    "ArgMax": "the logits as the output",
    "Round": "no rounding: its derivative is zero", "Floor": "no rounding: its derivative is zero",
    "QuantizeLinear": "a network in floating point", "DequantizeLinear": "a network in floating point",
    "ScatterND": "Concat or Where with a constant mask", "GatherND": "Gather", "GatherElements": "Gather",
    "Attention": "MatMul and Softmax", "LRN": "BatchNormalization", "Tan": "Sin and Cos", "Acos": "Atan", "Asin": "Atan",
}  # fmt: skip


# elementwise, or a matrix and a vector: right for any number of samples once a batch axis is put before the vector's
_WITHOUT_BATCH = frozenset(
    {"MatMul", "Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Constant", "Identity", "Neg", "Clip", "Abs"}
)


def is_onnx(path: Path) -> bool:
    """Whether a path is named like an ONNX file, compressed or not."""
    return path.name.endswith((".onnx", ".onnx.gz"))


def load_onnx(path: Path, input_shape: Shape | None = None) -> OnnxNetwork:
    """The network of an ONNX file, as a module in evaluation mode; capture it with its `input_shape`.

    A file that declares a batch of 1 takes any batch: a leading 1 in its shapes stands for the batch.

    Args:
        path: a .onnx file, or one compressed by gzip.
        input_shape: of one sample, if inputs come in another shape than the file declares: they are read in row-major order.

    Raises:
        BadFile: missing, truncated, malformed, with two readings, with weights in other files, or with several inputs or outputs.
        UnsupportedOp: an operator that is not covered, or an attribute or input of one; the message names the node.
        BadCapture: onnxruntime, or onnx's reference, computes something else from the file, or neither runs it.
        MissingExtra: onnx is not installed.
    """
    data = _bytes(path)
    module = OnnxNetwork(_program(_parsed(data, path), str(path)), input_shape)
    declared = int(np.prod(module.program.input_shape))
    if input_shape is not None and int(np.prod(input_shape)) != declared:
        raise BadFile(
            f"inputs of shape {input_shape} for a network that takes {module.program.input_shape}",
            where=str(path),
            fix="name the data the network was trained on",
        )
    measure(module)
    with torch.no_grad():
        out = module(torch.from_numpy(np.zeros((2, *module.input_shape), module.program.dtype)))
    if out.dim() != 2 or len(out) != 2 or not out.numel():
        raise BadFile(
            f"two samples give an output of shape {tuple(out.shape)}",
            where=str(path),
            fix="export the network with a batch axis first",
        )
    agree(module.eval(), data)
    return module


def _parsed(data: bytes, path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra(
            "reading an ONNX file needs the package onnx, which is not installed", fix="pip install 'epsball[onnx]'"
        ) from error
    try:
        model = cast("Any", onnx.ModelProto).FromString(data)
    except Exception as error:  # protobuf raises its own classes, which differ between its versions
        raise BadFile("not an ONNX file, or a damaged one", where=str(path), fix="export the network again") from error
    if not model.graph.node:
        raise BadFile("the file holds no network", where=str(path), fix="export the network again")
    if not all(isinstance(text, str) for text in _texts(model.graph)):  # protobuf hands out bytes where they are not UTF-8
        raise BadFile("the file holds names that are not text", where=str(path), fix="the file is damaged: export it again")
    one_graph(data, str(path))
    return model


def _texts(graph: Any) -> Iterator[object]:
    for value in (*graph.initializer, *graph.input, *graph.output):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (a.name for a in node.attribute)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise BadFile("no such file", where=str(path), fix="give an .onnx or .onnx.gz file")
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path) as file:
                data = file.read(_LARGEST + 1)
        else:
            with path.open("rb") as raw:
                data = raw.read(_LARGEST + 1)
    except (OSError, EOFError, ValueError) as error:
        raise BadFile(f"the file cannot be read: {error}", where=str(path), fix="copy it again") from error
    if len(data) > _LARGEST:
        raise BadFile("the network is larger than 2 GiB", where=str(path), fix="split it, or load its weights into a module")
    return data


def _program(model: Any, where: str) -> OnnxProgram:
    from onnx import defs

    graph = model.graph
    opset = operator_set(model, defs.onnx_opset_version(), where)
    one_reading(model, opset, where)
    constants = {t.name: _array(t, f"{where}: initializer {t.name!r}") for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        listed = ", ".join(repr(v.name) for v in (*inputs, *graph.output))
        raise BadFile(
            f"the network has {len(inputs)} inputs and {len(graph.output)} outputs: {listed}",
            where=where,
            fix="export one input and one output (onnx.utils.extract_model cuts a part out)",
        )
    shape, layout = _input_shape(inputs[0], where)
    steps = tuple(_steps(graph, where, {*constants, inputs[0].name}, opset))
    mixing = next((s for s in steps if layout == "none" and s.op not in _WITHOUT_BATCH), None)
    if mixing:
        raise UnsupportedOp(
            f"no bounds for the ONNX operator `{mixing.op}` on an input without a batch axis",
            where=mixing.where,
            fix="export the network with a batch axis",
        )
    if graph.output[0].name not in {name for step in steps for name in step.outputs}:
        raise BadFile(f"no node computes the output {graph.output[0].name!r}", where=where, fix="export the network again")
    dtype = _TYPES[inputs[0].type.tensor_type.elem_type]
    return OnnxProgram(where, steps, constants, inputs[0].name, shape, layout, graph.output[0].name, opset, dtype)


def _input_shape(value: Any, where: str) -> tuple[Shape, Layout]:
    """The shape of one sample, and what the file says of the batch axis."""
    kind = value.type.tensor_type
    if kind.elem_type not in _TYPES:
        raise BadFile(
            f"the input {value.name!r} is not of float32 or float64 (type {kind.elem_type})",
            where=where,
            fix="for text, give embeddings as the input: docs/how-to/text.md",
        )
    dims = [int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim]
    if not dims:
        raise BadFile(f"the input {value.name!r} has no declared shape", where=where, fix="export with a declared input shape")
    first, rest = (None, dims) if len(dims) == 1 else (dims[0], dims[1:])
    if first not in {None, 0, 1, -1}:
        raise BadFile(f"the input has a fixed batch of {first}", where=where, fix="export with a batch of 1 or a free batch axis")
    sizes = tuple(n or 0 for n in rest)
    if min(sizes) < 1 or int(np.prod([float(n) for n in sizes])) > LIMIT:
        raise BadFile(
            f"the input {value.name!r} has the shape {dims}: one sample's must be known",
            where=where,
            fix="fix every axis but the batch",
        )
    return sizes, "none" if len(dims) == 1 else "one" if first == 1 else "free"


def _steps(graph: Any, where: str, known: set[str], opset: int) -> Iterator[OnnxStep]:
    for number, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{number}"
        at = f"{where}: node {name!r} ({node.op_type})"
        if node.domain not in _STANDARD:
            raise UnsupportedOp(
                f"no bounds for the operator `{node.op_type}` of {node.domain!r}", where=at, fix="export with standard operators"
            )
        if node.op_type not in TABLE and node.op_type not in HOST and node.op_type != "Constant":
            raise _not_covered(node.op_type, at)
        missing = next((i for i in node.input if i and i not in known), None)
        if missing is not None:
            raise BadFile(f"the node reads {missing!r}, which nothing before it computes", where=at, fix="export the network again")
        made = [o for o in node.output if o]
        if known & set(made) or not made:
            raise BadFile("the node computes nothing, or a value that exists already", where=at, fix="export the network again")
        if len({a.name for a in node.attribute}) != len(node.attribute):
            raise BadFile("the node gives an attribute twice", where=at, fix="export the network again")
        known |= set(made)
        attrs = given(node, {a.name: _attribute(a, at) for a in node.attribute}, opset, at)
        if node.op_type == "Constant":
            attrs = {"value": _constant(attrs, at)}
        yield OnnxStep(node.op_type, name, at, tuple(node.input), tuple(node.output), attrs)


def _not_covered(op: str, at: str) -> UnsupportedOp:
    covered = sorted({*TABLE, *HOST})
    nearest = _NEAREST.get(op)
    hint = f"use {nearest}" if nearest else did_you_mean(op, covered) or "export with other operators"
    return UnsupportedOp(
        f"no bounds for the ONNX operator `{op}`", where=at, fix=f"{hint}; the {len(covered)} covered ones: docs/how-to/onnx.md"
    )


def _constant(attrs: dict[str, Any], at: str) -> Array:
    if len(attrs) != 1:
        raise BadFile(f"a constant with {len(attrs)} values", where=at, fix="export the network again")
    name, found = next(iter(attrs.items()))
    kind = None if isinstance(found, np.ndarray) else np.float32 if "float" in name else np.int64
    return np.asarray(found, dtype=kind)


def _attribute(a: Any, at: str) -> Any:
    kinds = {1: lambda: float(a.f), 2: lambda: int(a.i), 3: lambda: a.s.decode("utf-8", "replace"), 4: lambda: _array(a.t, at),
             6: lambda: [float(f) for f in a.floats], 7: lambda: [int(i) for i in a.ints],
             8: lambda: [s.decode("utf-8", "replace") for s in a.strings]}  # fmt: skip
    if a.type not in kinds or a.ref_attr_name:
        raise BadFile(
            f"the attribute {a.name!r} holds a graph or an unknown type", where=at, fix="export without branches and loops"
        )
    return cast("Any", kinds[a.type])()


def _array(tensor: Any, at: str) -> Array:
    from onnx import numpy_helper

    if tensor.data_location == _EXTERNAL or tensor.external_data:
        raise BadFile(
            "the weights lie in another file, which is never opened",
            where=at,
            fix="store them inside: onnx.save_model(onnx.load(path), new_path)",
        )
    one_value(tensor, at)
    if any(d < 0 for d in tensor.dims) or float(np.prod([float(d) for d in tensor.dims])) > LIMIT:
        raise BadFile(f"a tensor of shape {tuple(tensor.dims)}", where=at, fix="the file is damaged: export it again")
    try:
        array: Array = cast("Any", numpy_helper).to_array(tensor)
    except EpsballError:
        raise
    except Exception as error:  # onnx raises whatever a damaged tensor leads it into
        raise BadFile("a damaged tensor", where=at, fix="export the network again") from error
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise BadFile(f"a tensor of type {array.dtype}", where=at, fix="export in float32 or float64")
    return array
