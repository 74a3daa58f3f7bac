"""An ONNX network as a module: its nodes run one after the other, each as a submodule named like the node."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from epsball.errors import BadFile, EpsballError
from epsball.graph.graph import Shape
from epsball.graph.onnx import elementwise, host, layers, resize, shapes
from epsball.graph.onnx.calls import HOST, LIMIT, TABLE, Array, Call, Layout, Value
from epsball.types import Tensor

__all__ = ["OnnxNetwork", "OnnxProgram", "OnnxStep", "elementwise", "host", "layers", "measure", "resize", "shapes"]
_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_SHORT = 8  # numbers of an argument such as scales
_RAISED = (
    RuntimeError,
    ValueError,
    IndexError,
    TypeError,
    KeyError,
    ArithmeticError,
    AttributeError,
    NotImplementedError,
    MemoryError,
)


@dataclass(frozen=True)
class OnnxStep:
    """One node of a file.

    Attributes:
        op: operator name.
        name: the node's own, or its operator and number.
        where: file and node, for messages.
        inputs: names of values; "" for one left out.
        outputs: names of values.
        attrs: numbers, texts and arrays.
    """

    op: str
    name: str
    where: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class OnnxProgram:
    """What a file says, checked.

    Attributes:
        where: the file.
        steps: in order; each reads values that exist.
        constants: by name, of initializers.
        input: name of the network's input.
        input_shape: of one sample, as the file declares it.
        layout: its batch axis; see `Call`.
        output: name of its output.
        opset: of the standard operators.
        dtype: of the input, as declared.
    """

    where: str
    steps: tuple[OnnxStep, ...]
    constants: Mapping[str, Array]
    input: str
    input_shape: Shape
    layout: Layout
    output: str
    opset: int
    dtype: Any


Watch = Callable[[OnnxStep, list[Value]], None]


class _Node(nn.Module):
    """One node: a submodule, so that an error names it as the place."""

    def __init__(self, step: OnnxStep) -> None:
        super().__init__()
        self.step = step

    def forward(self, call: Call) -> Value | list[Value]:
        step = self.step
        on_host = all(isinstance(v, np.ndarray) for v in call.inputs if v is not None)
        handler = (HOST.get(step.op) if on_host else None) or TABLE.get(step.op)
        if handler is None:
            raise call.refuse("it is computed on shapes and other numbers of the file, not on data", "it where no input goes in")
        try:
            return handler(call)
        except EpsballError:
            raise
        except _RAISED as error:
            raise BadFile(
                f"the node cannot be run: {(str(error).strip().splitlines() or [type(error).__name__])[0]}",
                where=step.where,
                fix="export the network again; onnx.checker.check_model says more",
            ) from error


class OnnxNetwork(nn.Module):
    """A network from an ONNX file: maps (B, *x) to (B, K); an output of several axes is flattened.

    Attributes:
        input_shape: of one sample.
    """

    def __init__(self, program: OnnxProgram, input_shape: Shape | None = None) -> None:
        super().__init__()
        self.program = program
        self.input_shape = program.input_shape if input_shape is None else input_shape
        self._host: dict[str, Array] = {}
        self._known: dict[str, tuple[float, ...]] = {}
        self._keys: dict[str, str] = {}
        self._statistics = _read_as_statistics(program)
        for name, array in program.constants.items():
            self._keep(name, array)
        self.nodes = nn.ModuleDict()
        self._order: list[_Node] = []
        for number, step in enumerate(program.steps):
            if step.op == "Constant":
                self._keep(step.outputs[0], np.asarray(step.attrs["value"]))
                continue
            node = _Node(step)
            self._order.append(node)
            self.nodes[_free(step.name.replace(".", "_") or f"{step.op}_{number}", self.nodes)] = node
        self._drop = _last_readers(self._order, program.output)

    def _keep(self, name: str, array: Array) -> None:
        """Weights are parameters, statistics buffers; whole numbers and single numbers without an axis stay on the host."""
        if not np.issubdtype(array.dtype, np.floating) or array.ndim == 0:
            self._host[name] = array
            return
        if array.size <= _SHORT:
            self._known[name] = tuple(float(v) for v in array.reshape(-1))
        held = {**dict(self.named_parameters()), **dict(self.named_buffers()), **vars(self)}
        key = "p_" + _free(re.sub(r"\W", "_", name) or "constant", held)
        tensor = torch.from_numpy(np.array(array))
        if name in self._statistics:
            self.register_buffer(key, tensor)
        else:
            self.register_parameter(key, nn.Parameter(tensor, requires_grad=array.size > 1))
        self._keys[name] = key

    def forward(self, x: Tensor, watch: Watch | None = None) -> Tensor:
        """Outputs (B, K); `watch` sees each node with its results before the next one runs."""
        batch = x.shape[0]
        values: dict[str, Value] = {**self._host, **{name: getattr(self, key) for name, key in self._keys.items()}}
        values[self.program.input] = x.reshape(batch, *self.program.input_shape)
        for node, dropped in zip(self._order, self._drop, strict=True):
            step = node.step
            inputs = tuple(values[name] if name else None for name in step.inputs)
            known = {i: self._known[name] for i, name in enumerate(step.inputs) if name in self._known}
            program = self.program
            call = Call(step.op, step.where, inputs, step.attrs, len(step.outputs), program.opset, batch, program.layout, known)
            made = node(call)
            results = made if isinstance(made, list) else [made]
            if len(results) < sum(bool(name) for name in step.outputs):
                raise BadFile(f"`{step.op}` has {len(step.outputs)} results", where=step.where, fix="use its first result alone")
            for name in dropped:
                values.pop(name, None)
            values.update((name, value) for name, value in zip(step.outputs, results, strict=False) if name)
            if watch is not None:
                watch(step, results)
        out = values[self.program.output]
        if not isinstance(out, torch.Tensor):
            raise BadFile("the output does not depend on the input", where=self.program.where, fix="export the whole network")
        # in a file of one sample the batch may have grown into the leading axis, which is ordered by sample
        flat = out.dim() == 2 and (self.program.layout != "one" or out.shape[0] == batch)
        return out if flat else out.reshape(batch, -1)


def measure(module: OnnxNetwork) -> None:
    """Raise unless the network runs in bounded memory; nothing is allocated to find out.

    Raises:
        BadFile: a value, or all of them together, is larger than any network needs.
    """
    total = 0

    def watch(step: OnnxStep, results: list[Value]) -> None:
        nonlocal total
        for value in results:
            size = value.numel() if isinstance(value, torch.Tensor) else value.size
            total += size
            if size > LIMIT or total > 8 * LIMIT:
                raise BadFile(
                    f"a value of shape {tuple(value.shape)}, {total} numbers in all of them",
                    where=step.where,
                    fix="the file is damaged or hostile: export it again",
                )

    held: dict[str, Tensor] = {
        name: nn.Parameter(value.to("meta"), requires_grad=False) for name, value in module.state_dict().items()
    }
    with torch.no_grad(), torch.device("meta"):
        x = torch.zeros(2, *module.input_shape, dtype=_DTYPES[module.program.dtype.name])
        functional_call(module, held, (x, watch))


def _read_as_statistics(program: OnnxProgram) -> set[str]:
    """Constants that batch norms read as means and variances, also through the Identity that exporters share tensors by."""
    found = {name for step in program.steps if step.op == "BatchNormalization" for name in step.inputs[3:5]}
    for step in reversed(program.steps):
        if step.op == "Identity" and step.outputs[0] in found:
            found.add(step.inputs[0])
    return found


def _free(name: str, taken: Mapping[str, object] | nn.ModuleDict) -> str:
    count, made = 0, name
    while made in taken or f"p_{made}" in taken or hasattr(nn.ModuleDict, made):
        count += 1
        made = f"{name}_{count}"
    return made


def _last_readers(nodes: list[_Node], output: str) -> list[list[str]]:
    """For each node the values that nobody reads after it."""
    last = {name: i for i, node in enumerate(nodes) for name in node.step.inputs if name}
    gone: list[list[str]] = [[] for _ in nodes]
    for name, i in last.items():
        if name != output:
            gone[i].append(name)
    return gone
