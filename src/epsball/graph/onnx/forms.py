"""What is read of each operator: the versions, the inputs and the attributes. What is not listed here is refused by name.

Defaults come from ONNX's own schema of the operator in the file's operator set and are filled in before anything is checked, so an
attribute that a file leaves out is held to the same list as one that it gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from epsball.errors import BadFile, UnsupportedOp

NEWEST = 25  # version of an operator that this list was checked against
_KINDS = {"FLOAT": 1, "INT": 2, "STRING": 3, "TENSOR": 4, "FLOATS": 6, "INTS": 7, "STRINGS": 8}


@dataclass(frozen=True)
class OpForm:
    """What is read of an operator.

    Attributes:
        inputs: their names, in order; a last "..." takes any number more.
        reads: attributes that are read, or that have no effect on the first result in evaluation mode.
        only: attributes of which just these values are read.
        outputs: how many results there are; 0 for any number.
        oldest: version of the operator from which on this is right.
        newest: the last one.
    """

    inputs: str
    reads: str = ""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    outputs: int = 1
    oldest: int = 1
    newest: int = NEWEST


_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
_OFF = {"broadcast": (0,)}  # of operator sets before 7
_UNARY = OpForm("X", oldest=6)
_BINARY = OpForm("A B", only=_OFF, oldest=6)
_CONV = OpForm("X W B", "dilations group kernel_shape pads strides", {"auto_pad": _PADS})
_REDUCE = OpForm("data axes", "axes keepdims noop_with_empty_axes")

FORMS: dict[str, OpForm] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Reciprocal", "Neg", "Abs", "Floor", "Ceil"), _UNARY),
    **dict.fromkeys(("Sign", "Sin", "Cos", "Erf", "Atan", "HardSwish", "Mish", "Softplus", "Softsign", "Not"), OpForm("X")),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "Less", "And", "Or"), _BINARY),
    **dict.fromkeys(("Sum", "Mean", "Max", "Min"), OpForm("X ...", oldest=6)),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp"), _REDUCE
    ),
    "ReduceProd": _REDUCE,
    "Mod": OpForm("A B", only={"fmod": (0, 1)}),
    "Clip": OpForm("X min max", "min max", oldest=6),
    "LeakyRelu": OpForm("X", "alpha", oldest=6),
    "PRelu": OpForm("X slope", oldest=6),
    "Elu": OpForm("X", "alpha", oldest=6),
    "Celu": OpForm("X", "alpha"),
    "Selu": OpForm("X", "alpha gamma", oldest=6),
    "HardSigmoid": OpForm("X", "alpha beta", oldest=6),
    "Gelu": OpForm("X", only={"approximate": ("none", "tanh")}),
    "Swish": OpForm("X", "alpha"),
    "Identity": OpForm("X"),
    "Dropout": OpForm("X ratio training_mode", "ratio seed", {"is_test": (1,)}, oldest=6),
    # the others matter for types of eight bits, which are no target here
    "Cast": OpForm("X", "to saturate round_mode", oldest=6),
    "CastLike": OpForm("X like", "saturate round_mode"),
    "Where": OpForm("condition X Y"),
    "Softmax": OpForm("X", "axis"),
    "LogSoftmax": OpForm("X", "axis"),
    "Gemm": OpForm("A B C", "alpha beta transA transB", _OFF, oldest=6),
    "MatMul": OpForm("A B"),
    "Einsum": OpForm("X ...", "equation"),
    "Conv": _CONV,
    "ConvTranspose": OpForm("X W B", "dilations group kernel_shape pads strides output_padding output_shape", {"auto_pad": _PADS}),
    # the order of storage is that of the second result, which is not given
    "MaxPool": OpForm("X", "kernel_shape pads strides dilations storage_order", {"auto_pad": _PADS, "ceil_mode": (0, 1)}),
    "AveragePool": OpForm(
        "X", "kernel_shape pads strides dilations", {"auto_pad": _PADS, "ceil_mode": (0, 1), "count_include_pad": (0, 1)}
    ),
    "GlobalAveragePool": OpForm("X"),
    "GlobalMaxPool": OpForm("X"),
    "BatchNormalization": OpForm(
        "X scale bias mean var", "epsilon momentum", {"training_mode": (0,), "spatial": (1,), "is_test": (1,)}, oldest=6
    ),
    "LayerNormalization": OpForm("X scale bias", "axis epsilon", {"stash_type": (1,)}),
    "InstanceNormalization": OpForm("X scale bias", "epsilon", oldest=6),
    "GroupNormalization": OpForm("X scale bias", "epsilon num_groups", {"stash_type": (1,)}),
    "Shape": OpForm("X", "start end"),
    "Size": OpForm("X"),
    "Reshape": OpForm("X shape", only={"allowzero": (0, 1)}, oldest=5),
    "Flatten": OpForm("X", "axis"),
    "Transpose": OpForm("X", "perm"),
    "Unsqueeze": OpForm("X axes", "axes"),
    "Squeeze": OpForm("X axes", "axes"),
    "Concat": OpForm("X ...", "axis", oldest=4),
    "Slice": OpForm("X starts ends axes steps", "starts ends axes"),
    "Gather": OpForm("X indices", "axis"),
    "Split": OpForm("X split", "axis split num_outputs", outputs=0, oldest=2),
    "Expand": OpForm("X shape"),
    "Tile": OpForm("X repeats", oldest=6),
    "Pad": OpForm("X pads value axes", "pads value", {"mode": ("constant", "reflect", "edge", "wrap")}, oldest=2),
    "DepthToSpace": OpForm("X", "blocksize", {"mode": ("DCR", "CRD")}),
    "SpaceToDepth": OpForm("X", "blocksize"),
    # the region of interest is that of tf_crop_and_resize alone, which is not read, and so is its value outside
    "Resize": OpForm(
        "X roi scales sizes",
        "axes cubic_coeff_a extrapolation_value",
        {
            "mode": ("nearest", "linear", "cubic"),
            "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
            "coordinate_transformation_mode": (
                "half_pixel",
                "half_pixel_symmetric",
                "pytorch_half_pixel",
                "align_corners",
                "asymmetric",
            ),
            "exclude_outside": (0, 1),
            "antialias": (0,),
            "keep_aspect_ratio_policy": ("stretch",),
        },
        oldest=10,
    ),
    "Upsample": OpForm("X scales", "scales", {"mode": ("nearest", "linear")}, oldest=7, newest=9),
    "Range": OpForm("start limit delta"),
    "ConstantOfShape": OpForm("shape", "value"),
    "Constant": OpForm("", "value value_float value_floats value_int value_ints"),
}


def given(node: Any, attrs: Mapping[str, Any], opset: int, at: str) -> dict[str, Any]:
    """A node's attributes with the defaults of its operator set, all of them read by this package.

    Args:
        node: of the file.
        attrs: what it gives, by name.
        opset: version of the standard operators.
        at: the node, for messages.

    Raises:
        BadFile: it is no call of that operator: a wrong number of inputs, an attribute of another type, a missing one.
        UnsupportedOp: it gives something that is not read.
    """
    form, schema = FORMS[node.op_type], _schema(node.op_type, opset, at)
    version = schema.since_version
    if not form.oldest <= version <= form.newest:
        raise UnsupportedOp(
            f"no bounds for version {version} of the ONNX operator `{node.op_type}`: {form.oldest} to {form.newest} are read",
            where=at,
            fix="export with another operator set: 13 to 21 are the safest",
        )
    _ends(node, form, schema, at)
    known = schema.attributes
    for a in node.attribute:
        if a.name not in known:
            raise BadFile(
                f"`{node.op_type}` has no attribute {a.name!r} in operator set {opset}", where=at, fix="export the network again"
            )
        kind = str(known[a.name].type).rsplit(".", 1)[-1]
        if _KINDS.get(kind) != a.type:
            raise _refused(node, f"attribute {a.name!r} of another type than {kind}", at)
    filled = {name: _default(a) for name, a in known.items() if a.default_value.name} | dict(attrs)
    missing = next((name for name, a in known.items() if a.required and name not in filled), None)
    if missing is not None:
        raise BadFile(f"`{node.op_type}` without its attribute {missing!r}", where=at, fix="export the network again")
    for name, value in filled.items():
        if name in form.only and value not in form.only[name]:
            raise _refused(node, f"attribute {name} = {value!r} is not read", at, f"{name} = {form.only[name][0]!r}")
        if name not in form.only and name not in form.reads.split():
            raise _refused(node, f"attribute {name} is not read", at)
    return filled


def _schema(op: str, opset: int, at: str) -> Any:
    from onnx import defs

    try:
        return cast("Any", defs).get_schema(op, opset, "")
    except Exception as error:  # onnx's own class has no public name
        raise UnsupportedOp(
            f"operator set {opset} has no operator `{op}`", where=at, fix="export the network with a newer operator set"
        ) from error


def _ends(node: Any, form: OpForm, schema: Any, at: str) -> None:
    """Raise unless the numbers of inputs and results are those of the operator, and of what is read of it."""
    names = form.inputs.split()
    count = max((i + 1 for i, name in enumerate(node.input) if name), default=0)
    # a file may leave a trailing input empty; a needed one it may not
    if not schema.min_input <= count <= schema.max_input or any(not name for name in node.input[: schema.min_input]):
        raise BadFile(f"`{node.op_type}` with {count} inputs", where=at, fix="export the network again")
    if "..." not in names and count > len(names):
        raise _refused(node, f"input {count - 1} is not read", at)
    if form.outputs and any(node.output[form.outputs :]):
        raise _refused(node, f"result {form.outputs + 1} is not computed", at, "its first result alone")


def _default(attribute: Any) -> Any:
    from onnx import helper

    value = cast("Any", helper).get_attribute_value(attribute.default_value)
    return value.decode() if isinstance(value, bytes) else value


def _refused(node: Any, what: str, at: str, nearest: str = "a form of it that is: docs/how-to/onnx.md") -> UnsupportedOp:
    return UnsupportedOp(f"no bounds for the ONNX operator `{node.op_type}`: {what}", where=at, fix=f"use {nearest}")
