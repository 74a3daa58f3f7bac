"""nn.Module -> Graph by torch.export. The only file that knows torch.export.

Tried on torch 2.13: the exported graph is functional, layers stay whole, the user's lines survive, and parameters stay
live, so training differentiates through the graph that verification reads.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from epsball.errors import BadCapture, BadShape, EpsballError
from epsball.evaluation import evaluation_mode
from epsball.graph.attention import plain_attention
from epsball.graph.builder import SAMPLES
from epsball.graph.constants import Ref
from epsball.graph.conversion import Conversion
from epsball.graph.graph import Graph, Node, Shape
from epsball.graph.refused import noise, whole_precision
from epsball.graph.settled import first_line, floating, initialised, name_of, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        UnsupportedOp: it uses a second precision; the message names the user's line. An operator without bounds is no error yet.
        BadShape: it cannot be run on such an input.
    """
    plain = unwrap(module)
    example = _example(plain, input_shape, inputs)
    if torch.is_autocast_enabled(example.device.type):
        raise BadCapture(
            "the network is captured under autocast, whose casts have no bounds",
            where=type(plain).__name__,
            fix="leave the autocast block before asking for bounds: they are of the network in its own precision",
        )
    with evaluation_mode(plain), torch.no_grad(), plain_attention(plain):
        return _convert(_export(plain, example))


def asked(module: nn.Module, input_shape: Shape, inputs: torch.dtype = torch.float32) -> nn.Module:
    """A module under its wrappers, ready to be captured: given a copy of its input if it writes into it.

    Raises:
        BadCapture, BadShape: see `settled`.
        UnsupportedOp: half precision.
    """
    if not isinstance(module, nn.Module):
        initialised(module)
        raise BadCapture(
            "a function holds no parameters that its bounds could name",
            where=name_of(module),
            fix="put it and its layers into a torch.nn.Module; attacks and smoothing take a function as it is",
        )
    plain = unwrap(module)
    initialised(plain)
    example = _example(plain, input_shape, inputs)
    whole_precision(example.dtype, type(plain).__name__)
    with evaluation_mode(plain):
        return cast("nn.Module", settled(plain, example))


def unwrap(module: nn.Module) -> nn.Module:
    """The user's own module under compile and data-parallel wrappers."""
    while isinstance(inner := getattr(module, "_orig_mod", getattr(module, "module", None)), nn.Module):
        module = inner
    return module


def _example(module: nn.Module, shape: Shape, inputs: torch.dtype) -> torch.Tensor:
    like = floating(module, inputs)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(SAMPLES, *shape, generator=generator, dtype=torch.float32).to(like.device, like.dtype)


def _export(module: nn.Module, example: torch.Tensor) -> ExportedProgram:
    try:
        first, second = module(example.clone()), module(example.clone())
    except EpsballError:
        raise
    except Exception as error:
        raise BadShape(
            f"the network cannot be run on inputs of shape {tuple(example.shape[1:])}: {first_line(error)}",
            fix="give the shape of one sample, without the batch",
        ) from error
    _repeats(first, second, type(module).__name__)
    if isinstance(module, torch.jit.ScriptModule):
        raise BadCapture(
            "a TorchScript module holds no graph that torch.export can read",
            where=type(module).__name__,
            fix="give the Python module it was made from; attacks and smoothing take this one as it is",
        )
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
    convert = Conversion(keys, held, program.state_dict)
    for node in program.graph.nodes:
        convert(node)
    output = convert.named.get(outputs[0].arg.name)
    if not isinstance(output, Node) or not output.varies:
        raise BadCapture("the network's output does not depend on its input", fix="return the logits")
    if len(output.shape) != 1:
        what = f"the network's output has per-sample shape {output.shape}"
        raise BadCapture(what, fix="return logits (B, K), or one score (B, 1): out[:, None]")
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
