"""nn.Module -> Graph by torch.export. The only file that knows torch.export.

Tried on torch 2.13: the exported graph is functional, layers stay whole, the user's lines survive, and parameters stay
live, so training differentiates through the graph that verification reads.
"""

from __future__ import annotations

import contextlib
import operator
import re
import warnings
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from epsball.errors import BadCapture, BadShape, EpsballError
from epsball.graph.aten.table import TABLE, Builder
from epsball.graph.attention import plain_attention
from epsball.graph.builder import SAMPLES
from epsball.graph.constants import Ref, fixed_values
from epsball.graph.graph import Graph, Node, Shape, Where
from epsball.graph.refused import draws, noise, not_covered, one_precision, whole_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.export import ExportedProgram


def capture(module: nn.Module, input_shape: Shape, inputs: torch.dtype = torch.float32) -> Graph:
    """The graph of a module in evaluation mode.

    Args:
        module: maps (B, *x) to (B, K); its mode, gradients and buffers are left as they are.
        input_shape: *x, the shape of one sample.
        inputs: dtype of the inputs, where the module has no floating-point tensor to say it.

    Returns:
        The graph; its parameters are named as in the module's `state_dict`.

    Raises:
        BadCapture: the module mixes its batch, has several outputs, draws random numbers, or changes a buffer as it runs.
        UnsupportedOp: it uses an operator that is not covered, or a second precision; the message names the user's line.
        BadShape: it cannot be run on such an input.
    """
    plain = unwrap(module)
    example = _example(plain, input_shape, inputs)
    whole_precision(example.dtype, type(plain).__name__)
    if torch.is_autocast_enabled(example.device.type):
        raise BadCapture(
            "the network is captured under autocast, whose casts have no bounds",
            where=type(plain).__name__,
            fix="leave the autocast block before asking for bounds: they are of the network in its own precision",
        )
    with _as_in_evaluation(plain), plain_attention(plain):
        return _convert(_export(plain, example))


def unwrap(module: nn.Module) -> nn.Module:
    """The user's own module under compile and data-parallel wrappers."""
    while isinstance(inner := getattr(module, "_orig_mod", getattr(module, "module", None)), nn.Module):
        module = inner
    return module


def floating(module: nn.Module, inputs: torch.dtype) -> torch.Tensor:
    """A tensor of the dtype and device that a module computes in: one of its own, or an empty one of its inputs' dtype."""
    own = (p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point())
    return next(own, torch.empty(0, dtype=inputs))


def _example(module: nn.Module, shape: Shape, inputs: torch.dtype) -> torch.Tensor:
    like = floating(module, inputs)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(SAMPLES, *shape, generator=generator, dtype=torch.float32).to(like.device, like.dtype)


@contextlib.contextmanager
def _as_in_evaluation(module: nn.Module) -> Iterator[None]:
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, training in modes.items():
            m.training = training


def _export(module: nn.Module, example: torch.Tensor) -> ExportedProgram:
    try:
        first, second = module(example), module(example)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise BadShape(
            f"the network cannot be run on inputs of shape {tuple(example.shape[1:])}: {str(error).splitlines()[0]}",
            fix="give the shape of one sample, without the batch",
        ) from error
    _repeats(first, second, type(module).__name__)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False)
            decomposed: ExportedProgram = program.run_decompositions({})
            return decomposed
    except Exception as error:
        raise BadCapture(
            f"torch.export cannot trace this network: {str(error).strip().splitlines()[0]}",
            where=type(module).__name__,
            fix="avoid Python control flow on values; see https://pytorch.org/docs/stable/export.html",
        ) from error


def _repeats(first: object, second: object, where: str) -> None:
    """Raise unless a network answers the same inputs alike, but for what a device's order of sums may do."""
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return  # several outputs: said later
    if not first.is_floating_point() or not first.numel():
        return
    scale = 64 * torch.finfo(first.dtype).eps * first.abs().nan_to_num().amax()
    if first.shape != second.shape or bool(((first - second).abs() > scale).any()):
        raise noise("two runs on the same inputs give different answers", where)


def _convert(program: ExportedProgram) -> Graph:
    signature = program.graph_signature
    outputs = [o for o in signature.output_specs if o.kind.name == "USER_OUTPUT"]
    changed = [
        o.target for o in signature.output_specs if o.kind.name != "USER_OUTPUT" and "num_batches_tracked" not in str(o.target)
    ]
    if len(outputs) != 1 or changed:
        what = f"changes {changed[0]!r} as it runs" if changed else f"has {len(outputs)} outputs"
        raise BadCapture(f"the network {what}", fix="return one tensor (B, K) and change nothing")
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held = {name: program.constants[key] for name, key in signature.inputs_to_lifted_tensor_constants.items()}
    convert = _Conversion(keys, held, program.state_dict)
    for node in program.graph.nodes:
        convert(node)
    output = convert.named.get(outputs[0].arg.name)
    if not isinstance(output, Node) or not output.varies:
        raise BadCapture("the network's output does not depend on its input", fix="return the logits")
    if len(output.shape) != 1:
        raise BadCapture(f"the network's output has per-sample shape {output.shape}", fix="return logits of shape (B, K)")
    nodes = _reachable(convert.builder.nodes, output.name)
    return Graph(nodes, "input", output.name, tuple(convert.dropped))


def _reachable(nodes: dict[str, Node], output: str) -> tuple[Node, ...]:
    needed, todo = {"input"}, [output]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            node = nodes[name]
            todo.extend(node.inputs)
            todo.extend(_references(node.attrs.get("args", ())))
            todo.extend(_references(tuple(node.attrs.get("kwargs", {}).values())))
    return tuple(node for name, node in nodes.items() if name in needed)


def _references(arguments: Any) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, Ref):
            yield argument.name
        elif isinstance(argument, (list, tuple)):
            yield from _references(argument)


class _Conversion:
    """One pass over the exported nodes, in order."""

    def __init__(self, keys: dict[str, str], held: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
        self.keys, self.held, self.state = keys, held, state
        self.builder = Builder()
        self.named: dict[str, Any] = {}
        self.dropped: list[str] = []
        self.precision = torch.float32

    def __call__(self, node: torch.fx.Node) -> None:
        at = _where(node)
        # torch keeps no line of the user's inside autocast: the last one before it is the nearest
        self.builder.at = at if at.source else Where(at.module or self.builder.at.module, self.builder.at.source)
        if node.op == "call_function" and not isinstance(node.meta.get("val"), (torch.Tensor, tuple, list)):
            return  # a size: per-sample shapes are read from the results
        if node.op == "placeholder":
            self.named[node.name] = self._placeholder(node)
        elif node.op == "call_function":
            self.named[node.name] = self._call(node)
        elif node.op == "get_attr":
            raise BadCapture(
                "the network holds a sub-graph (a loop or a branch)",
                where=str(self.builder.at),
                fix="unroll it",
            )

    def _placeholder(self, node: torch.fx.Node) -> Node:
        shape = tuple(node.meta["val"].shape)
        if node.name in self.keys:
            return self.builder.constant("param", tuple(int(s) for s in shape), key=self.keys[node.name])
        if node.name in self.held:
            tensor = self.held[node.name]
            return self.builder.constant("const", tuple(shape), target=lambda: tensor, args=(), kwargs={})
        self.precision = node.meta["val"].dtype
        return self.builder.keep(Node("input", "input", (), MappingProxyType({}), tuple(int(s) for s in shape[1:])))

    def _call(self, node: torch.fx.Node) -> Any:
        bound = self._arguments(node)
        if draws(node.target, bound):
            raise noise(f"`{_name(node.target)}` draws random numbers", str(self.builder.at))
        if node.target is operator.getitem:
            return self._pick(bound["0"], bound["1"])
        name = _name(node.target)
        if isinstance(bound.get("self"), list):
            return self._of_list(name, bound)
        if not _varies(list(bound.values())):
            return self._fixed(node)
        if name not in TABLE:
            raise not_covered(name, self.builder.at, TABLE)
        if "dropout" in name:
            self.dropped.append(self.builder.at.module)
        value = node.meta.get("val")
        results = list(value) if isinstance(value, (tuple, list)) else [cast("torch.Tensor", value)]
        several = name in {"split", "split_with_sizes", "chunk", "unbind", "tensor_split"}
        shapes = [self._per_sample(v) for v in (results if several else results[:1])]
        self.builder.result = shapes[0]
        one_precision(name, results[0].dtype, self.precision, self.builder.at)
        extra = {"__op__": name, "__shapes__": shapes, "__probe__": lambda x, numbers: self._probe(node, x, numbers)}
        return TABLE[name](self.builder, {**bound, **extra})

    def _pick(self, source: Any, index: int) -> Any:
        if not isinstance(source, list) and index == 0:
            return source
        if not isinstance(source, list) or index >= len(source):
            raise self.builder.refuse("this result of an operator has no bounds", "use its first result")
        return source[index]

    def _of_list(self, name: str, bound: dict[str, Any]) -> Any:
        """The last states of a recurrent layer are a list of nodes, from which one is picked by its layer."""
        states = bound["self"]
        if name == "select" and bound["dim"] == 0:
            return states[bound["index"]]
        if name == "squeeze" and len(states) == 1:
            return states[0]
        if name == "slice" and bound.get("dim", 0) == 0:
            return states[slice(bound.get("start"), bound.get("end"), bound.get("step", 1))]
        raise self.builder.refuse(f"{name} of all last states at once has no bounds", "pick one layer first: h[-1]")

    def _probe(self, node: torch.fx.Node, x: Node, numbers: torch.Tensor) -> torch.Tensor:
        """An operation that moves data, run on one sample of other values; its constants are taken as they are now."""
        constants = tuple(n for n in self.builder.nodes.values() if not n.varies)
        values = fixed_values(constants, {key: self.state[key] for key in self.keys.values() if key in self.state})

        def given(argument: Any) -> Any:
            if isinstance(argument, torch.fx.Node) and isinstance(self.named.get(argument.name), Node):
                made = self.named[argument.name]
                return numbers if made.name == x.name else values[made.name].cpu()
            return _plain_argument(argument, given)

        run = cast("Any", node.target)
        moved: torch.Tensor = run(*[given(v) for v in node.args], **{k: given(v) for k, v in node.kwargs.items()})
        return moved

    def _per_sample(self, value: torch.Tensor) -> Shape:
        try:
            return tuple(int(size) for size in value.shape[1:])
        except EpsballError:
            raise
        except Exception as error:
            raise BadCapture(
                "a per-sample size depends on the batch",
                where=str(self.builder.at),
                fix="keep axis 0 as the batch",
            ) from error

    def _fixed(self, node: torch.fx.Node) -> Node | list[Node]:
        """An operation on constants only: kept as it is, and run once for each parameter value."""

        def ref(argument: Any) -> Any:
            if isinstance(argument, torch.fx.Node) and argument.name in self.named:
                made = self.named[argument.name]
                return [Ref(n.name) for n in made] if isinstance(made, list) else Ref(made.name)
            return _plain_argument(argument, ref)

        value = node.meta.get("val")
        several = isinstance(value, (tuple, list))
        if not isinstance(value, (torch.Tensor, tuple, list)):
            raise not_covered(_name(node.target), self.builder.at, TABLE)
        run = cast("Callable[..., Any]", node.target)
        results: list[torch.Tensor] = list(value) if isinstance(value, (tuple, list)) else [value]
        made = [
            self.builder.constant(
                "const",
                tuple(_number(s) for s in result.shape),
                target=partial(_nth, run, i) if several else run,
                args=tuple(ref(a) for a in node.args),
                kwargs={k: ref(v) for k, v in node.kwargs.items()},
            )
            for i, result in enumerate(results)
        ]
        return made if several else made[0]

    def _arguments(self, node: torch.fx.Node) -> dict[str, Any]:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return {str(i): self._value(a) for i, a in enumerate(node.args)}
        bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        for argument, value in zip(schema.arguments, node.args, strict=False):
            bound[argument.name] = self._value(value)
        bound.update({k: self._value(v) for k, v in node.kwargs.items()})
        return bound

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            return self.named.get(argument.name)
        if isinstance(argument, (list, tuple)):
            return [self._value(a) for a in argument]
        return argument


def _varies(values: list[Any]) -> bool:
    return any(v.varies if isinstance(v, Node) else isinstance(v, list) and _varies(v) for v in values)


def _nth(run: Callable[..., Any], index: int, *args: Any, **kwargs: Any) -> Any:
    return run(*args, **kwargs)[index]


def _number(size: Any) -> int:
    """A size, for a batch of one: a constant as large as the batch is the same for every sample."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _plain_argument(argument: Any, inner: Callable[[Any], Any]) -> Any:
    """An argument without torch's symbols: a size that depends on the batch is that of a batch of one."""
    if isinstance(argument, torch.fx.Node):
        return _number(argument.meta["val"])
    if isinstance(argument, (list, tuple)):
        return [inner(a) for a in argument]
    return _number(argument) if isinstance(argument, torch.SymInt) else argument


def _name(target: object) -> str:
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def _where(node: torch.fx.Node) -> Where:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((str(entry[0]) for entry in reversed(list(stack.values()))), "")
    frames = re.findall(r'File "([^<"][^"]*)", line (\d+), in \S+\n\s*(.*)', node.meta.get("stack_trace") or "")
    own = [f for f in frames if "/torch/" not in f[0] and "/epsball/graph/" not in f[0]]
    if not own and not any("/epsball/graph/onnx/" in f[0] for f in frames):  # there the node's name is the place
        own = frames
    source = f"{own[-1][0]}:{own[-1][1]}: {own[-1][2].strip()}" if own else ""
    return Where(path, source)
