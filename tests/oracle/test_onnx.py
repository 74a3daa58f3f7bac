"""ONNX networks against onnxruntime: every operator of the table, and every network of the verification competition."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from epsball.graph.onnx import load_onnx
from epsball.graph.onnx.calls import TABLE
from epsball.ops.network import Network
from onnx_files import answer, helper, network, one, save

_g = np.random.default_rng(0)


def f(*shape):
    return _g.normal(size=shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


def n(value):
    return np.array(value, np.float32)


V, M, C, S = [1, 6], [1, 3, 4], [1, 4, 6, 6], ["batch", 3, 4]  # a vector, a matrix, a picture; a free batch axis
CASES = {
    **{
        op.lower(): one(op, V)
        for op in (
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Neg",
            "Abs",
            "Sign",
            "Sin",
            "Cos",
            "Erf",
            "Atan",
            "Identity",
            "LeakyRelu",
            "Elu",
            "Celu",
            "Selu",
            "HardSigmoid",
            "Softsign",
            "Softplus",
            "Reciprocal",
        )
    },
    "hardswish": one("HardSwish", V),
    "mish": one("Mish", V, opset=18),
    "gelu": one("Gelu", V, opset=20),
    "gelu tanh": one("Gelu", V, opset=20, approximate="tanh"),
    "sqrt": one("Sqrt", V),
    "log": one("Log", V),
    "dropout": one("Dropout", V),
    "leaky": one("LeakyRelu", V, alpha=0.3),
    "elu": one("Elu", V, alpha=0.5),
    "add": one("Add", M, [f(4)]),
    "sub": one("Sub", M, [f(3, 1)]),
    "mul": one("Mul", M, [f(1, 3, 4)]),
    "div": one("Div", M, [n(0.3)]),
    "add number": one("Add", M, [n(0.3)]),
    "max": one("Max", M, [f(4)]),
    "min": one("Min", M, [n(0.2)]),
    "max number": one("Max", M, [n(0.2)]),
    "sum": one("Sum", M, [f(4), f(3, 1)]),
    "mean": one("Mean", M, [f(4)]),
    "pow": one("Pow", V, [n(2)]),
    "pow one element": one("Pow", V, [np.array([3], np.float32)]),
    "pow root": one("Pow", V, [n(0.5)]),
    "clip": one("Clip", V, [n(-0.2), n(0.4)]),
    "clip above": one("Clip", V, [None, n(0.4)]),
    "clip 6": one("Clip", V, opset=6, min=0.1, max=0.5),
    "prelu": one("PRelu", C, [f(4, 1, 1)]),
    "cast": one("Cast", V, to=1),
    "softmax": one("Softmax", M),
    "softmax axis": one("Softmax", M, axis=1),
    "softmax old": one("Softmax", M, opset=11, axis=1),
    "softmax old last": one("Softmax", M, opset=11, axis=2),
    "log softmax": one("LogSoftmax", V),
    "gemm": one("Gemm", V, [f(6, 3), f(3)]),
    "gemm scaled": one("Gemm", V, [f(3, 6), f(1, 3)], transB=1, alpha=0.5, beta=2.0),
    "gemm alone": one("Gemm", V, [f(6, 3)]),
    "matmul": one("MatMul", M, [f(4, 5)]),
    "matmul stack": one("MatMul", M, [f(1, 4, 5)]),
    "conv": one("Conv", C, [f(5, 4, 3, 3), f(5)], pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv one-sided": one("Conv", C, [f(5, 4, 3, 3)], pads=[0, 1, 2, 0]),
    "conv same": one("Conv", C, [f(5, 4, 3, 3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv same lower": one("Conv", C, [f(5, 4, 2, 2)], auto_pad="SAME_LOWER"),
    "conv groups": one("Conv", C, [f(4, 2, 3, 3)], group=2, dilations=[2, 2]),
    "conv 1d": one("Conv", M, [f(2, 3, 2)]),
    "conv 3d": one("Conv", [1, 2, 3, 3, 3], [f(2, 2, 2, 2, 2)]),
    "conv transpose": one("ConvTranspose", C, [f(4, 3, 2, 2), f(3)], strides=[2, 2], output_padding=[1, 0]),
    "max pool": one("MaxPool", C, kernel_shape=[2, 2], strides=[2, 2]),
    "max pool ceil": one("MaxPool", C, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average pool": one("AveragePool", C, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "average pool padded": one("AveragePool", C, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "global average": one("GlobalAveragePool", C),
    "global max": one("GlobalMaxPool", C),
    "batch norm": one("BatchNormalization", C, [f(4), f(4), f(4), np.abs(f(4)) + 0.1], epsilon=1e-3),
    "layer norm": one("LayerNormalization", M, [f(4), f(4)]),
    "layer norm axis": one("LayerNormalization", M, [f(3, 4)], axis=1),
    "instance norm": one("InstanceNormalization", C, [f(4), f(4)]),
    "group norm": one("GroupNormalization", C, [f(4), f(4)], opset=21, num_groups=2),
    "flatten": one("Flatten", C),
    "reshape": one("Reshape", C, [i(1, -1)]),
    "reshape zeros": one("Reshape", C, [i(0, 2, -1)]),
    "transpose": one("Transpose", M, perm=[0, 2, 1]),
    "unsqueeze": one("Unsqueeze", M, [i(1, -1)]),
    "unsqueeze old": one("Unsqueeze", M, opset=11, axes=[2]),
    "squeeze": one("Squeeze", [1, 3, 1, 2], [i(2)]),
    "squeeze old": one("Squeeze", [1, 3, 1, 2], opset=11, axes=[-2]),
    "concat": network([helper.make_node("Concat", ["t", "x"], ["y"], axis=1)], M, {"t": f(1, 2, 4)}),
    "slice": one("Slice", C, [i(1, 0), i(3, 99), i(2, 3), i(1, 2)]),
    "slice back": one("Slice", C, [i(-1), i(-(2**40)), i(2), i(-1)]),
    "slice old": one("Slice", C, opset=9, starts=[1, 1], ends=[-1, 2**31 - 1], axes=[2, 3]),
    "gather": one("Gather", C, [i(2, 0, -1)], axis=2),
    "gather one": one("Gather", C, [np.array(1)], axis=2),
    "gather grid": one("Gather", M, [np.array([[0, 1], [2, 0]])], axis=1),
    "split": network(
        [helper.make_node("Split", ["x", "s"], ["a", "b"], axis=2), helper.make_node("Mul", ["a", "b"], ["y"])], M, {"s": i(2, 2)}
    ),
    "split old": network(
        [helper.make_node("Split", ["x"], ["a", "b"], axis=2), helper.make_node("Sub", ["a", "b"], ["y"])], M, opset=11
    ),
    "expand": one("Expand", [1, 3, 1], [i(1, 3, 4)]),
    "tile": one("Tile", M, [i(1, 2, 1)]),
    "pad": one("Pad", C, [i(0, 0, 1, 2, 0, 0, 0, 1), n(0.5)]),
    "pad reflect": one("Pad", C, [i(0, 0, 1, 2, 0, 0, 0, 1)], mode="reflect"),
    "pad edge": one("Pad", C, [i(0, 0, 1, 2, 0, 0, 0, 1)], mode="edge"),
    "depth to space": one("DepthToSpace", C, blocksize=2),
    "depth to space crd": one("DepthToSpace", C, blocksize=2, mode="CRD"),
    "space to depth": one("SpaceToDepth", C, blocksize=2),
    "resize": one(
        "Resize", C, [None, np.array([1, 1, 2, 3], np.float32)], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "where": network(
        [helper.make_node("Where", ["c", "x", "z"], ["y"])], M, {"c": np.array([True, False, True, True]), "z": n(0.5)}
    ),
    "reduce mean": one("ReduceMean", C, axes=[2, 3]),
    "reduce mean flat": one("ReduceMean", C, axes=[-1], keepdims=0),
    "reduce sum": one("ReduceSum", M, [i(1)]),
    "reduce max": one("ReduceMax", M, axes=[1]),
    "reduce min": one("ReduceMin", M, axes=[2]),
    "reduce l2": one("ReduceL2", M, axes=[2]),
    "reduce sum square": one("ReduceSumSquare", M, axes=[2]),
    "reduce log sum exp": one("ReduceLogSumExp", M, axes=[2]),
    "einsum": network([helper.make_node("Einsum", ["x", "w"], ["y"], equation="bij,jk->bik")], M, {"w": f(4, 2)}),
    "shape": network(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"]),
            helper.make_node("Unsqueeze", ["n", "axes"], ["m"]),
            helper.make_node("Concat", ["m", "rest"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["y"]),
        ],
        S,
        {"zero": np.array(0), "axes": i(0), "rest": i(2, 6)},
    ),
    "class token": network(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
            helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
            helper.make_node("ConstantOfShape", ["to"], ["z"]),
            helper.make_node("Add", ["z", "t"], ["token"]),
            helper.make_node("Concat", ["token", "x"], ["y"], axis=1),
        ],
        S,
        {"zero": i(0), "one": i(1), "rest": i(1, 4), "t": f(4)},
    ),
    "attention scale": network(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "last"], ["d"]),
            helper.make_node("Cast", ["d"], ["e"], to=1),
            helper.make_node("Sqrt", ["e"], ["r"]),
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["x", "t"], ["p"]),
            helper.make_node("Div", ["p", "r"], ["q"]),
            helper.make_node("Softmax", ["q"], ["y"]),
        ],
        S,
        {"last": np.array(-1)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_onnxruntime_does(name, tmp_path):
    module = load_onnx(save(CASES[name], tmp_path / "net.onnx"))
    x = torch.rand(3, *module.input_shape, generator=torch.Generator().manual_seed(1)) + 0.05
    if name not in {"sqrt", "log", "pow root"}:
        x = 2 * x - 1
    expected = answer(CASES[name], x.numpy())
    with torch.no_grad():
        assert np.abs(module(x).numpy() - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_every_operator_of_the_table_has_a_case():
    used = {node.op_type for model in CASES.values() for node in model.graph.node}
    assert set(TABLE) - used <= {"Swish", "Upsample", "CastLike", "Size"}


def test_operators_with_bounds_are_captured(tmp_path):
    """All but those that capture refuses: the graph's own check compares it with the module."""
    for name in ("gather grid", "class token", "attention scale"):
        case = CASES[name]
        nodes = [*case.graph.node, helper.make_node("Flatten", ["y"], ["flat"])]
        model = network(nodes, _shape(case), _held(case), case.opset_import[0].version, "flat")
        module = load_onnx(save(model, tmp_path / "net.onnx"))
        network_ = Network.capture(module, module.input_shape)
        assert network_.graph.output_shape[0] > 1


def _shape(model):
    return [d.dim_value or d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim]


def _held(model):
    from onnx import numpy_helper

    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


NETS = [
    "acasxu_2022/onnx/ACASXU_run2a_2_3_batch_2000.onnx.gz",
    "cifar10_resnet_2021/onnx/resnet_2b.onnx",
    "cifar10_resnet_2021/onnx/resnet_4b.onnx",
    "collins_rul_cnn_2022/onnx/NN_rul_full_window_20.onnx.gz",
    "collins_rul_cnn_2022/onnx/NN_rul_full_window_40.onnx.gz",
    "collins_rul_cnn_2022/onnx/NN_rul_small_window_20.onnx.gz",
    "dist_shift_2023/onnx/mnist_concat.onnx.gz",
    "eran_2021/nets/ffnnSIGMOID__Point_6x200.onnx",
    "eran_2021/nets/mnist_relu_9_200.onnx",
    "mnist_fc_2022/onnx/mnist-net_256x2.onnx.gz",
    "mnist_fc_2022/onnx/mnist-net_256x4.onnx.gz",
    "mnist_fc_2022/onnx/mnist-net_256x6.onnx.gz",
    "reach_prob_density_2022/onnx/gcas.onnx.gz",
    "reach_prob_density_2022/onnx/robot.onnx.gz",
    "reach_prob_density_2022/onnx/vdp.onnx.gz",
    "rl_benchmarks_2022/onnx/cartpole.onnx.gz",
    "rl_benchmarks_2022/onnx/dubinsrejoin.onnx.gz",
    "rl_benchmarks_2022/onnx/lunarlander.onnx.gz",
    "test_2022/test_nano.onnx",
    "test_2022/test_sat.onnx",
    "test_2022/test_small.onnx",
    "test_2022/test_tiny.onnx",
    "test_2022/test_unsat.onnx",
    "vit_2023/onnx/ibp_3_3_8.onnx.gz",
    "vit_2023/onnx/pgd_2_3_16.onnx.gz",
]


@pytest.mark.shared
@pytest.mark.parametrize("name", NETS)
def test_networks_of_the_competition_compute_what_onnxruntime_does(shared, name):
    path = shared / "vnncomp" / name
    module = load_onnx(path)
    x = torch.rand(4, *module.input_shape, generator=torch.Generator().manual_seed(2))
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    expected = answer(data, x.numpy())
    with torch.no_grad():
        assert np.abs(module(x).numpy() - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
