"""The table from torch's operators to canonical ones, with per-sample axes.

One converter an operator: it receives a `Builder` (which knows the shapes of what came before) and the operator's
arguments by name, and returns the name of the node that stands for the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from epsball.errors import BadCapture, UnsupportedOp
from epsball.graph.graph import Node, Shape, Where

Arguments = dict[str, Any]


class Builder:
    """Collects canonical nodes; `at` is the user's line of the operation under conversion."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.at = Where()
        self.result: Shape = ()

    def emit(self, op: str, inputs: tuple[Node, ...], shape: Shape, **attrs: object) -> Node:
        """Append a varying node."""
        return self.keep(
            Node(
                self._fresh(op),
                op,
                tuple(n.name for n in inputs),
                MappingProxyType(attrs),
                shape,
                True,
                self.at,
            )
        )

    def constant(self, op: str, shape: Shape, **attrs: object) -> Node:
        """Append a node that does not depend on the input."""
        return self.keep(Node(self._fresh(op), op, (), MappingProxyType(attrs), shape, False, self.at))

    def keep(self, node: Node) -> Node:
        self.nodes[node.name] = node
        return node

    def operand(self, value: Any) -> Node:  # noqa: ANN401 - a node or a number
        """A node as it is; a number becomes a literal."""
        return value if isinstance(value, Node) else self.constant("literal", (), value=float(value))

    def refuse(self, what: str, fix: str) -> UnsupportedOp:
        return UnsupportedOp(what, where=str(self.at), fix=fix)

    def axis(self, dim: int, rank: int) -> int:
        """A per-sample axis from torch's axis of a batch of rank-`rank` samples."""
        dim = dim + rank + 1 if dim < 0 else dim
        if dim == 0:
            raise BadCapture(
                "an operation works across the batch axis",
                where=str(self.at),
                fix="treat each sample on its own: axis 0 is the batch",
            )
        return dim - 1

    def _fresh(self, op: str) -> str:
        name, count = op, 0
        while name in self.nodes:
            count += 1
            name = f"{op}_{count}"
        return name


Converter = Callable[[Builder, Arguments], Node]
TABLE: dict[str, Converter] = {}


def converts(*names: str) -> Callable[[Converter], Converter]:
    """File a converter under the names of torch's operators."""

    def keep(converter: Converter) -> Converter:
        TABLE.update(dict.fromkeys(names, converter))
        return converter

    return keep


def _per_sample(b: Builder, constant: Node, rank: int) -> Node:
    """A constant that broadcasts against (B, *n): drop its own batch axis of length 1."""
    if len(constant.shape) <= rank:
        return constant
    if len(constant.shape) == rank + 1 and constant.shape[0] == 1:
        return derived(b, constant, "squeeze", constant.shape[1:])
    raise BadCapture(
        f"a constant of shape {tuple(constant.shape)} is combined with a batch",
        where=str(b.at),
        fix="give it no batch axis, or one of length 1",
    )


def derived(b: Builder, constant: Node, how: str, shape: Shape) -> Node:
    """A constant computed from another one when parameters are bound."""
    import torch

    from epsball.graph.plan import Ref

    def squeeze(t: torch.Tensor) -> torch.Tensor:
        return t.squeeze(0)

    def transpose(t: torch.Tensor) -> torch.Tensor:
        return t.transpose(-1, -2)

    target = {"squeeze": squeeze, "transpose": transpose}[how]
    return b.constant("const", shape, target=target, args=(Ref(constant.name),), kwargs={})


def _broadcast(b: Builder, node: Node, shape: Shape) -> Node:
    if node.shape == shape:
        return node
    if len(node.shape) != len(shape):
        raise b.refuse(
            f"operands of per-sample shapes {node.shape} and {shape} broadcast over the batch axis",
            "give both operands the same number of axes",
        )
    return b.emit("expand", (node,), shape)


def _binary(op: str) -> Converter:
    def convert(b: Builder, a: Arguments) -> Node:
        left, right = b.operand(a["self"]), b.operand(a["other"])
        alpha = a.get("alpha", 1)
        if alpha != 1:
            right = _binary("mul")(b, {"self": right, "other": alpha}) if right.varies else scaled(b, right, alpha)
        rank = max(len(n.shape) for n in (left, right) if n.varies)
        pair = [_broadcast(b, n, b.result) if n.varies else _per_sample(b, n, rank) for n in (left, right)]
        return b.emit(op, (pair[0], pair[1]), b.result)

    return convert


def scaled(b: Builder, constant: Node, factor: float) -> Node:
    """A constant times a number."""
    import torch

    from epsball.graph.plan import Ref

    return b.constant("const", constant.shape, target=torch.mul, args=(Ref(constant.name), factor), kwargs={})


for _op in ("add", "sub", "mul"):
    TABLE[_op] = _binary(_op)


@converts("div")
def _div(b: Builder, a: Arguments) -> Node:
    if a.get("rounding_mode") is not None:
        raise b.refuse("division with rounding has no bounds", "divide without rounding_mode")
    return _binary("div")(b, a)


@converts("rsub")
def _rsub(b: Builder, a: Arguments) -> Node:
    return _binary("sub")(b, {"self": a["other"], "other": a["self"], "alpha": a.get("alpha", 1)})


@converts("neg", "relu", "sigmoid", "tanh")
def _unary(b: Builder, a: Arguments) -> Node:
    return b.emit(str(a["__op__"]), (a["self"],), b.result)


@converts("leaky_relu")
def _leaky_relu(b: Builder, a: Arguments) -> Node:
    return b.emit("leaky_relu", (a["self"],), b.result, slope=float(a.get("negative_slope", 0.01)))


@converts("clone", "contiguous", "alias", "dropout", "lift_fresh_copy", "native_dropout", "feature_dropout")
def _identity(_: Builder, a: Arguments) -> Node:
    node: Node = a["self"] if "self" in a else a["input"]
    return node


@converts("to", "_to_copy", "type_as")
def _cast(b: Builder, a: Arguments) -> Node:
    if a.get("dtype") is not None and not a["dtype"].is_floating_point:
        raise b.refuse("a cast to integers has no bounds", "keep the network in floating point")
    node: Node = a["self"]
    return node


@converts("linear")
def _linear(b: Builder, a: Arguments) -> Node:
    x, weight = a["input"], a["weight"]
    if weight.varies:
        raise b.refuse("a linear layer whose weight depends on the input has no bounds", "use constant weights")
    bias = (a["bias"],) if a.get("bias") is not None else ()
    return b.emit("linear", (x, weight, *bias), b.result)


@converts("matmul", "mm")
def _matmul(b: Builder, a: Arguments) -> Node:
    x, weight = a["self"], a["other"] if "other" in a else a["mat2"]
    if not x.varies or weight.varies or len(weight.shape) != 2:
        raise b.refuse("matmul is covered as input @ constant matrix only", "write x @ W with a 2-d constant W")
    turned = derived(b, weight, "transpose", (weight.shape[1], weight.shape[0]))
    return b.emit("linear", (x, turned), b.result)


@converts("addmm")
def _addmm(b: Builder, a: Arguments) -> Node:
    product = _matmul(b, {"self": a["mat1"], "other": a["mat2"]})
    return _binary("add")(b, {"self": product, "other": a["self"]})


@converts("conv1d", "conv2d", "conv3d")
def _conv(b: Builder, a: Arguments) -> Node:
    x, weight = a["input"], a["weight"]
    if weight.varies:
        raise b.refuse("a convolution whose weight depends on the input has no bounds", "use constant weights")
    spatial = len(weight.shape) - 2
    kernel = weight.shape[2:]
    dilation = _tuple(a.get("dilation", 1), spatial)
    padding = a.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [p for t in reversed(total) for p in (t // 2, t - t // 2)]
        shape = (*x.shape[:1], *(n + t for n, t in zip(x.shape[1:], total, strict=True)))
        x = b.emit("pad", (x,), shape, pads=tuple(pads), value=0.0)
        padding = 0
    bias = (a["bias"],) if a.get("bias") is not None else ()
    return b.emit(
        "conv",
        (x, weight, *bias),
        b.result,
        stride=_tuple(a.get("stride", 1), spatial),
        padding=_tuple(padding, spatial),
        dilation=dilation,
        groups=int(a.get("groups", 1)),
    )


@converts("_native_batch_norm_legit_no_training", "batch_norm")
def _batch_norm(b: Builder, a: Arguments) -> Node:
    if a.get("training"):
        raise BadCapture("batch norm was captured in training mode", where=str(b.at), fix="call .eval() first")
    x, mean, var = a["input"], a["running_mean"], a["running_var"]
    if mean is None or var is None:
        raise b.refuse("batch norm without running statistics mixes the batch", "set track_running_stats=True")
    weight = a.get("weight") or filled(b, mean, 1.0)
    bias = a.get("bias") or filled(b, mean, 0.0)
    return b.emit(
        "batch_norm",
        (x, weight, bias, mean, var),
        x.shape,
        eps=float(a["eps"]),
        momentum=float(a["momentum"]),
    )


def filled(b: Builder, like: Node, value: float) -> Node:
    """A constant of another one's shape."""
    import torch

    from epsball.graph.plan import Ref

    return b.constant("const", like.shape, target=torch.full_like, args=(Ref(like.name), value), kwargs={})


@converts("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as")
def _reshape(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if math.prod(x.shape) != math.prod(b.result):
        raise BadCapture("a reshape moves the batch axis", where=str(b.at), fix="keep axis 0 as the batch")
    return x if x.shape == b.result else b.emit("reshape", (x,), b.result)


@converts("permute", "transpose", "t", "swapaxes", "movedim", "numpy_T")
def _permute(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    rank = len(x.shape)
    order = list(range(rank))
    if "dims" in a:
        order = [b.axis(d, rank) if i else 0 for i, d in enumerate(a["dims"])][1:]
        if a["dims"][0] % (rank + 1) != 0:
            b.axis(0, rank)
    else:
        i, j = b.axis(a["dim0"], rank), b.axis(a["dim1"], rank)
        order[i], order[j] = order[j], order[i]
    return b.emit("permute", (x,), b.result, dims=tuple(order))


@converts("cat")
def _cat(b: Builder, a: Arguments) -> Node:
    parts = a["tensors"]
    rank = len(b.result)
    dim = b.axis(a.get("dim", 0), rank)
    if not all(p.varies for p in parts):
        raise b.refuse("cat of the input with a constant has no bounds yet", "add the constant after the cat, or pad")
    return b.emit("cat", tuple(parts), b.result, dim=dim)


@converts("stack")
def _stack(b: Builder, a: Arguments) -> Node:
    parts = a["tensors"]
    rank = len(b.result)
    dim = b.axis(a.get("dim", 0), rank)
    wide = []
    for part in parts:
        shape = (*part.shape[:dim], 1, *part.shape[dim:])
        wide.append(b.emit("reshape", (part,), shape))
    return b.emit("cat", tuple(wide), b.result, dim=dim)


@converts("slice", "narrow")
def _slice(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if "length" in a:
        start, stop, step = a["start"], a["start"] + a["length"], 1
    else:
        start, stop, step = a.get("start") or 0, a.get("end"), a.get("step", 1)
    stop = 2**63 - 1 if stop is None else stop
    if x.shape == b.result and start == 0 and step == 1:
        return x
    dim = b.axis(a.get("dim", 0), len(x.shape))
    begin, end, step = slice(start, stop, step).indices(x.shape[dim])
    return b.emit("slice", (x,), b.result, dim=dim, start=begin, stop=end, step=step)


@converts("select")
def _select(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    dim = b.axis(a["dim"], len(x.shape))
    index = a["index"] % x.shape[dim]
    shape = (*x.shape[:dim], 1, *x.shape[dim + 1 :])
    part = b.emit("slice", (x,), shape, dim=dim, start=index, stop=index + 1, step=1)
    return b.emit("reshape", (part,), b.result)


def split(b: Builder, x: Node, sizes: list[int], dim: int) -> list[Node]:
    """The parts of a split, as slices."""
    axis, parts, start = b.axis(dim, len(x.shape)), [], 0
    for size in sizes:
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        parts.append(b.emit("slice", (x,), shape, dim=axis, start=start, stop=start + size, step=1))
        start += size
    return parts


@converts("expand")
def _expand(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    if len(x.shape) != len(b.result):
        raise BadCapture("an expand adds an axis before the batch", where=str(b.at), fix="use unsqueeze(1) first")
    return x if x.shape == b.result else b.emit("expand", (x,), b.result)


@converts("pad", "constant_pad_nd")
def _pad(b: Builder, a: Arguments) -> Node:
    if a.get("mode", "constant") != "constant":
        raise b.refuse(f"padding mode {a['mode']!r} has no bounds yet", "use constant padding")
    pads = tuple(a["pad"])
    if len(pads) > 2 * len(b.result):
        b.axis(0, len(b.result))
    return b.emit("pad", (a["self"],), b.result, pads=pads, value=float(a.get("value") or 0.0))


@converts("sum", "mean")
def _reduce(b: Builder, a: Arguments) -> Node:
    x: Node = a["self"]
    dims = a.get("dim")
    if dims is None:
        b.axis(0, len(x.shape))
    listed: list[int] = list(dims) if isinstance(dims, (list, tuple)) else [int(dims or 0)]
    dims = tuple(sorted(b.axis(d, len(x.shape)) for d in listed))
    return b.emit(str(a["__op__"]), (x,), b.result, dims=dims, keepdim=bool(a.get("keepdim", False)))


@converts("avg_pool2d")
def _avg_pool(b: Builder, a: Arguments) -> Node:
    kernel = _tuple(a["kernel_size"], 2)
    return b.emit(
        "avg_pool2d",
        (a["self"],),
        b.result,
        kernel=kernel,
        stride=_tuple(a.get("stride") or kernel, 2),
        padding=_tuple(a.get("padding", 0), 2),
        ceil=bool(a.get("ceil_mode", False)),
        include_pad=bool(a.get("count_include_pad", True)),
        divisor=a.get("divisor_override"),
    )


@converts("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(b: Builder, a: Arguments) -> Node:
    return b.emit("adaptive_avg_pool2d", (a["self"],), b.result, size=b.result[-2:])


@converts("max_pool2d", "max_pool2d_with_indices")
def _max_pool(b: Builder, a: Arguments) -> Node:
    kernel = _tuple(a["kernel_size"], 2)
    return b.emit(
        "max_pool2d",
        (a["self"],),
        b.result,
        kernel=kernel,
        stride=_tuple(a.get("stride") or kernel, 2),
        padding=_tuple(a.get("padding", 0), 2),
        dilation=_tuple(a.get("dilation", 1), 2),
        ceil=bool(a.get("ceil_mode", False)),
    )


def _tuple(value: Any, count: int) -> tuple[int, ...]:  # noqa: ANN401 - an int or a list of ints
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values
