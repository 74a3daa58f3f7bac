"""Elementwise operators: arithmetic, activations, choices by a constant."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from epsball.graph.onnx.calls import Call, Value, axis_of, operator
from epsball.types import Tensor

_BINARY: dict[str, Any] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div}
_UNARY: dict[str, Any] = {
    "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal, "Neg": torch.neg, "Abs": torch.abs, "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos,
    "Erf": torch.erf, "Atan": torch.atan, "HardSwish": F.hardswish, "Mish": F.mish, "Softplus": F.softplus,
}  # fmt: skip


@operator(*_BINARY)
def _binary(call: Call) -> Value:
    made: Tensor = _BINARY[call.op](*(_operand(call, i) for i in range(2)))
    return made


def _operand(call: Call, index: int) -> Any:
    """A tensor, or a plain number: captured as a literal of the network's precision."""
    value = call.inputs[index] if call.has(index) else None
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 and value.ndim == 0 else call.tensor(index)


@operator(*_UNARY)
def _unary(call: Call) -> Value:
    made: Tensor = _UNARY[call.op](call.tensor(0))
    return made


@operator("Sum", "Mean")
def _several(call: Call) -> Value:
    values = call.tensors()
    total = reduce(torch.add, values)
    return total / len(values) if call.op == "Mean" else total


@operator("Max", "Min")
def _extreme(call: Call) -> Value:
    """Of any number of values; a single number of the file is a clamp."""
    largest = call.op == "Max"
    numbers = [float(v) for v in call.inputs if isinstance(v, np.ndarray) and v.ndim == 0]
    tensors = [call.tensor(i) for i, v in enumerate(call.inputs) if not (isinstance(v, np.ndarray) and v.ndim == 0)]
    made: Tensor = reduce(torch.maximum if largest else torch.minimum, tensors)
    if not numbers:
        return made
    return made.clamp(min=max(numbers)) if largest else made.clamp(max=min(numbers))


@operator("Pow")
def _pow(call: Call) -> Value:
    return torch.pow(call.tensor(0), call.number(1, 1.0))


@operator("Clip")
def _clip(call: Call) -> Value:
    low = call.attrs["min"] if "min" in call.attrs else call.number(1, -math.inf)
    high = call.attrs["max"] if "max" in call.attrs else call.number(2, math.inf)
    return call.tensor(0).clamp(low, high)


@operator("LeakyRelu")
def _leaky_relu(call: Call) -> Value:
    return F.leaky_relu(call.tensor(0), call.attrs.get("alpha", 0.01))


@operator("PRelu")
def _prelu(call: Call) -> Value:
    """`min(x, 0) s + max(x, 0)` with slopes that broadcast to x."""
    x, slope = call.tensor(0), call.tensor(1)
    return slope * x + (1 - slope) * F.relu(x)


@operator("Elu", "Celu", "Selu")
def _elu(call: Call) -> Value:
    x, alpha = call.tensor(0), float(call.attrs.get("alpha", 1.0))
    if call.op == "Celu":
        return F.celu(x, alpha)
    if call.op == "Elu":
        return F.elu(x, alpha)
    standard = (1.6732632423543772, 1.0507009873554805)
    given = (float(call.attrs.get("alpha", standard[0])), float(call.attrs.get("gamma", standard[1])))
    return F.selu(x) if np.allclose(given, standard, rtol=1e-6) else torch.mul(F.elu(x, given[0]), given[1])


@operator("HardSigmoid")
def _hard_sigmoid(call: Call) -> Value:
    x, alpha, beta = call.tensor(0), float(call.attrs.get("alpha", 0.2)), float(call.attrs.get("beta", 0.5))
    return (x * alpha + beta).clamp(0.0, 1.0)


@operator("Softsign")
def _softsign(call: Call) -> Value:
    x = call.tensor(0)
    return x / (1 + x.abs())


@operator("Gelu")
def _gelu(call: Call) -> Value:
    return F.gelu(call.tensor(0), approximate=call.attrs.get("approximate", "none"))


@operator("Swish")
def _swish(call: Call) -> Value:
    x, alpha = call.tensor(0), float(call.attrs.get("alpha", 1.0))
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@operator("Identity")
def _identity(call: Call) -> Value:
    return call.tensor(0)


@operator("Dropout")
def _dropout(call: Call) -> Value:
    if call.has(2) and call.number(2, 0) and call.number(1, 0.5):
        raise call.refuse("it is in training mode", "a network exported in evaluation mode")
    return call.tensor(0)


_FLOATS = {1: torch.float32, 11: torch.float64}
_NAMED = {"float32": torch.float32, "float64": torch.float64}


@operator("Cast", "CastLike")
def _cast(call: Call) -> Value:
    """A weight is cast once; a value that depends on data keeps the precision of the network."""
    x = call.tensor(0)
    like = call.inputs[1] if call.op == "CastLike" else None
    if like is not None:
        wanted = like.dtype if isinstance(like, torch.Tensor) else _NAMED.get(like.dtype.name)
    else:
        wanted = _FLOATS.get(call.attrs["to"])
    if wanted == x.dtype:
        return x
    if wanted is not None and isinstance(x, torch.nn.Parameter):
        return x.to(wanted)
    what = wanted or f"ONNX's type {call.attrs.get('to', 'of input 1')}"
    raise call.refuse(f"values of {x.dtype} are cast to {what}", "float32 or float64 throughout")


@operator("Where")
def _where(call: Call) -> Value:
    condition = call.inputs[0]
    if not isinstance(condition, np.ndarray):
        raise call.refuse("a choice that depends on the input", "Relu, Clip, Max or Min")
    return torch.where(call.tensor(0), call.tensor(1), call.tensor(2))


@operator("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Value:
    """Before operator set 13 the axes from `axis` on are taken together."""
    x = call.tensor(0)
    how = torch.softmax if call.op == "Softmax" else torch.log_softmax
    axis = axis_of(call, call.attrs.get("axis", -1 if call.opset >= 13 else 1), x.dim())
    if axis == 0 and (call.opset >= 13 or call.layout != "one"):
        raise call.refuse("it takes the batch in", "axes that start at 1")
    if call.opset >= 13 or axis == x.dim() - 1:
        return how(x, axis)
    axis = max(axis, 1)  # the file's leading 1 stands for the batch
    return how(x.flatten(axis), -1).reshape(x.shape)
