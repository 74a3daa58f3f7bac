"""What a file must not leave open: whatever two readers could take for two networks is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

from epsball.errors import BadFile, UnsupportedOp

_GRAPH = 7  # ModelProto.graph
_LENGTHS = {1: 8, 5: 4}  # of the wire types that have one
_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_OLD_IR, _OLD_SET = 4, 9  # from these on, an initializer that is an input too is a default that a caller may override
MOST = 2500  # nodes: capturing them takes half a minute


def one_graph(data: bytes, where: str) -> None:
    """Raise unless the file has its graph once; protobuf would merge several, other readers take one of them.

    Raises:
        BadFile: it has two.
    """
    place, found = 0, 0
    while place < len(data):
        tag, place = _varint(data, place)
        field, kind = tag >> 3, tag & 7
        found += field == _GRAPH
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 2:
            size, place = _varint(data, place)
            place += size
        elif kind in _LENGTHS:
            place += _LENGTHS[kind]
        else:
            raise BadFile("the file has fields that no exporter writes", where=where, fix="export the network again")
    if found > 1:
        raise BadFile("the file holds two graphs", where=where, fix="export the network again: one file for each")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            break
    return value, place


def operator_set(model: Any, newest: int, where: str) -> int:
    """The version of the standard operators.

    Raises:
        BadFile: none or two are named, or one newer than the installed onnx knows.
    """
    named = {o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}}
    if len(named) != 1:
        raise BadFile(f"the file names {len(named)} operator sets", where=where, fix="export the network again")
    version: int = named.pop()
    if not 1 <= version <= newest:
        raise BadFile(
            f"operator set {version}, where the installed onnx knows 1 to {newest}",
            where=where,
            fix="export with an older operator set, or install a newer onnx",
        )
    return version


def one_reading(model: Any, opset: int, where: str) -> None:
    """Raise where names or values of the graph could be read in two ways, or the graph is larger than is captured in time.

    Raises:
        BadFile: a name stands for two values, a tensor holds its numbers twice, or an initializer may be overridden.
        UnsupportedOp: functions of the file's own, sparse tensors, or too many nodes.
    """
    graph = model.graph
    if model.functions or graph.sparse_initializer:
        what = "functions of its own" if model.functions else "sparse tensors"
        raise UnsupportedOp(f"the file has {what}", where=where, fix="export with standard operators and dense tensors")
    held, inputs = [t.name for t in graph.initializer], [v.name for v in graph.input]
    for names, what in ((held, "initializers"), (inputs, "inputs")):
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise BadFile(f"two {what} are named {twice!r}", where=where, fix="export the network again")
    both = set(held) & set(inputs)
    # before operator set 9 every initializer had to be an input too, and exporters went on so in later versions of the format
    custom = model.ir_version < _OLD_IR or (opset < _OLD_SET and both == set(held))
    if both and not custom:
        raise BadFile(
            f"the initializer {min(both)!r} is an input with a default, which a caller may override",
            where=where,
            fix="remove initializers from the graph's inputs: keep_initializers_as_inputs=False where it was exported",
        )
    count = sum(node.op_type != "Constant" for node in graph.node)
    if count > MOST:
        raise UnsupportedOp(
            f"the network has {count} nodes: at most {MOST} are read", where=where, fix="simplify the file (onnxsim)"
        )


def one_value(tensor: Any, where: str) -> None:
    """Raise where a tensor holds its numbers twice.

    Raises:
        BadFile: it has raw and typed data together, or two kinds of typed data.
    """
    kinds = [name for name in _TYPED if len(getattr(tensor, name))]
    if len(kinds) + tensor.HasField("raw_data") > 1:
        raise BadFile(f"the tensor {tensor.name!r} holds its numbers twice", where=where, fix="export the network again")
