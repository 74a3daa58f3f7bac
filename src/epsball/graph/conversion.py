"""Nodes of an exported program -> nodes of a graph: one pass, in order."""

from __future__ import annotations

import operator
import re
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch

from epsball.errors import BadCapture, EpsballError, UnsupportedOp
from epsball.graph.aten.table import TABLE, Builder
from epsball.graph.constants import Ref, fixed_values
from epsball.graph.graph import OPAQUE, Node, Shape, Where
from epsball.graph.refused import draws, noise, not_covered, one_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Conversion:
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
        if "dropout" in name:
            self.dropped.append(self.builder.at.module)
        value = node.meta.get("val")
        results = list(value) if isinstance(value, (tuple, list)) else [cast("torch.Tensor", value)]
        several = name in {"split", "split_with_sizes", "chunk", "unbind", "tensor_split"}
        shapes = [self._per_sample(v) for v in (results if several else results[:1])]
        self.builder.result = shapes[0]
        # a mask or an index: what rules say of numbers does not hold of it
        foreign = next((n for n in _nodes(list(bound.values())) if n.attrs.get("dtype", self.precision) != self.precision), None)
        if name not in TABLE or foreign is not None:
            why = foreign.attrs["why"] if foreign is not None else not_covered(name, self.builder.at, TABLE)
            return self._opaque(node, results, why)
        one_precision(name, results[0].dtype, self.precision, self.builder.at)
        extra = {"__op__": name, "__shapes__": shapes, "__probe__": lambda x, numbers: self._probe(node, x, numbers)}
        try:
            return TABLE[name](self.builder, {**bound, **extra})
        except UnsupportedOp as why:
            return self._opaque(node, results, why)

    def _opaque(self, node: torch.fx.Node, results: list[torch.Tensor], why: UnsupportedOp) -> Node | list[Node]:
        """An operation that no rule covers, kept as it is: it can be run and trained through, and a bound of it raises `why`."""
        inputs: dict[str, Node] = {}

        def ref(argument: Any) -> Any:
            if isinstance(argument, torch.fx.Node) and argument.name in self.named:
                made = self.named[argument.name]
                for each in made if isinstance(made, list) else [made]:
                    inputs[each.name] = each
                return [Ref(n.name) for n in made] if isinstance(made, list) else Ref(made.name)
            if isinstance(argument, torch.fx.Node | torch.SymInt) or _symbolic(argument):
                raise why  # a size that depends on the batch cannot be filled in
            return [ref(a) for a in argument] if isinstance(argument, (list, tuple)) else argument

        args, kwargs = tuple(ref(a) for a in node.args), {k: ref(v) for k, v in node.kwargs.items()}
        run, given = cast("Callable[..., Any]", node.target), tuple(inputs.values())
        several = len(results) > 1
        made = [
            self.builder.emit(
                OPAQUE,
                given,
                self._per_sample(result),
                target=partial(_nth, run, i) if several else run,
                args=args,
                kwargs=kwargs,
                why=why,
                dtype=result.dtype,
            )
            for i, result in enumerate(results)
        ]
        return made if several else made[0]

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
    return any(node.varies for node in _nodes(values))


def _nodes(values: list[Any]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, Node):
            yield value
        elif isinstance(value, list):
            yield from _nodes(value)


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


def _symbolic(argument: Any) -> bool:
    """Whether an argument holds a size that is not known."""
    if isinstance(argument, (list, tuple)):
        return any(_symbolic(a) for a in argument)
    return isinstance(argument, torch.SymInt) or (
        isinstance(argument, torch.fx.Node) and isinstance(argument.meta.get("val"), torch.SymInt)
    )


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
