"""One-operator ONNX files over the combinations of their attributes, and what two executors say of each.

They share no code with the package: the files come from onnx.helper, the answers from onnxruntime and onnx.reference.
"""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from onnx_files import helper, network, one

_g = np.random.default_rng(5)
V, M, C, D1 = [1, 6], [1, 3, 4], [1, 4, 6, 5], [1, 4, 7]


def f(*shape):
    return _g.normal(size=shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


def n(value):
    return np.array(value, np.float32)


def grid(**choices):
    """Every combination of the given values; None leaves an attribute out."""
    for values in itertools.product(*choices.values()):
        yield {k: v for k, v in zip(choices, values, strict=True) if v is not None}


def _named(op, items):
    for model in items:
        node = next(node for node in model.graph.node if node.op_type == op)
        said = " ".join(f"{a.name}={_text(helper.get_attribute_value(a))}" for a in node.attribute)
        yield f"{op} {model.opset_import[0].version} {len(node.input)} {said}", model


def _text(value):
    return value.decode() if isinstance(value, bytes) else getattr(value, "dims", value)


def _elementwise():
    for op in ("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Erf", "Softplus", "Softsign", "Identity", "Sign"):
        yield from _named(op, [one(op, V, opset=s) for s in (9, 13, 21)])
    for op in ("LeakyRelu", "Elu", "HardSigmoid", "Selu", "Celu"):
        more = {"HardSigmoid": "beta", "Selu": "gamma"}.get(op)
        choices = {"alpha": (None, 0.3, 1.5)} | ({more: (None, 0.7)} if more else {})
        yield from _named(op, [one(op, V, opset=s, **a) for s in (12, 17) for a in grid(**choices)])
    yield from _named("Gelu", [one("Gelu", V, opset=20, **a) for a in grid(approximate=(None, "none", "tanh"))])
    for op in ("Add", "Sub", "Mul", "Div"):
        yield from _named(op, [one(op, M, [c], s) for s in (7, 14) for c in (f(4), f(3, 1), f(1, 3, 4), n(0.7), f(1))])
    for op in ("Max", "Min", "Sum", "Mean"):
        several = [
            [],
            [f(4)],
            [n(0.2)],
            [n(0.2), n(-0.3)],
            [n(-0.3), n(0.2)],
            [f(4), n(0.1)],
            [n(0.1), f(3, 1)],
            [f(1), f(4), f(3, 4)],
        ]
        yield from _named(op, [one(op, M, c, s) for s in (8, 13) for c in several])
        first = [helper.make_node(op, ["a", "x", "b"], ["y"])]
        yield from _named(op, [network(first, M, {"a": a, "b": b}) for a, b in ((f(4), n(0.3)), (n(0.2), n(0.1)), (f(1), f(3, 1)))])
    yield from _named(
        "Clip",
        [one("Clip", V, c, s) for s in (11, 13) for c in ([], [n(-0.2)], [None, n(0.3)], [n(-0.2), n(0.3)], [n(0.3), n(-0.2)])],
    )
    yield from _named("Clip", [one("Clip", V, opset=6, **a) for a in grid(min=(None, -0.2), max=(None, 0.3))])
    yield from _named("PRelu", [one("PRelu", C, [s]) for s in (f(4, 1, 1), f(1), f(5), f(4, 6, 5))])
    yield from _named("Pow", [one("Pow", V, [e], s) for s in (7, 15) for e in (n(2), n(3), n(1), f(1) * 0 + 2)])
    yield from _named("Cast", [one("Cast", V, opset=s, to=t) for s in (9, 13, 21) for t in (1, 6, 7, 9, 10, 11)])
    yield from _named("Dropout", [one("Dropout", V, opset=s, **a) for s in (7, 10) for a in grid(ratio=(None, 0.3))])
    yield from _named(
        "Dropout",
        [
            one("Dropout", V, c, s)
            for s in (12, 13)
            for c in ([], [n(0.3)], [n(0.3), np.array(False)], [n(0.0), np.array(True)], [n(0.3), np.array(True)])
        ],
    )
    for op in ("Softmax", "LogSoftmax"):
        yield from _named(op, [one(op, M, opset=s, **a) for s in (9, 11, 13) for a in grid(axis=(None, 1, 2, -1, -2, 0))])


def _layers():
    yield from _named(
        "Gemm",
        [
            one("Gemm", V, [w if not a.get("transB") else w.T.copy(), *c], s, **a)
            for s in (9, 13)
            for w in [f(6, 3)]
            for c in ([f(3)], [f(1, 3)], [n(0.4)])
            for a in grid(alpha=(None, 0.5), beta=(None, 2.0, 0.0), transB=(None, 1))
        ],
    )
    yield from _named("MatMul", [one("MatMul", M, [w]) for w in (f(4, 2), f(1, 4, 2), f(4))])
    for op, weight in (("Conv", f(2, 4, 3, 2)), ("ConvTranspose", f(4, 2, 3, 2))):
        yield from _named(
            op,
            [
                one(op, C, [weight], **a)
                for a in grid(
                    strides=(None, [2, 1]),
                    dilations=(None, [2, 1]),
                    pads=(None, [1, 1, 1, 1], [0, 1, 1, 0]),
                    kernel_shape=(None, [3, 2]),
                )
            ],
        )
        yield from _named(
            op,
            [
                one(op, C, [weight], **a)
                for a in grid(
                    auto_pad=("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"),
                    strides=(None, [2, 2], [1, 3]),
                    dilations=(None, [1, 2]),
                )
            ],
        )
    yield from _named(
        "Conv",
        [
            one("Conv", C, [f(4, 2, 3, 3), f(4)], group=2),
            one("Conv", D1, [f(3, 4, 3)], pads=[1, 1]),
            one("Conv", C, [f(4, 1, 3, 3)], group=4),
        ],
    )
    yield from _named(
        "ConvTranspose",
        [one("ConvTranspose", C, [f(4, 2, 3, 3), f(4)], group=2)]
        + [
            one("ConvTranspose", C, [f(4, 2, 2, 2)], strides=[2, 2], **a)
            for a in grid(output_padding=(None, [1, 0]), output_shape=(None, [12, 10], [13, 10]), pads=(None, [0, 0, 1, 0]))
        ],
    )
    for op in ("MaxPool", "AveragePool"):
        counted = {"count_include_pad": (None, 1)} if op == "AveragePool" else {"storage_order": (None, 1)}
        yield from _named(
            op,
            [
                one(op, C, opset=s, kernel_shape=[3, 2], **a)
                for s in (10, 19)
                for a in grid(strides=(None, [2, 2]), pads=(None, [1, 1, 1, 1], [1, 0, 0, 1]), ceil_mode=(None, 1), **counted)
            ],
        )
        yield from _named(
            op,
            [
                one(op, C, opset=19, kernel_shape=[3, 2], **a)
                for a in grid(auto_pad=("VALID", "SAME_UPPER", "SAME_LOWER"), strides=(None, [2, 2]), **counted)
            ],
        )
        yield from _named(
            op, [one(op, C, opset=19, kernel_shape=[2, 2], dilations=[2, 1]), one(op, D1, kernel_shape=[3], strides=[2])]
        )
    statistics = [f(4), f(4), f(4), np.abs(f(4)) + 0.2]
    yield from _named(
        "BatchNormalization",
        [
            one("BatchNormalization", C, statistics, s, **a)
            for s in (9, 15)
            for a in grid(epsilon=(None, 1e-2), momentum=(None, 0.5), training_mode=(None, 0) if s == 15 else (None,))
        ],
    )
    yield from _named("BatchNormalization", [one("BatchNormalization", C, statistics, 15, training_mode=1)])
    yield from _named(
        "LayerNormalization",
        [
            one("LayerNormalization", M, c, **a)
            for c in ([f(4)], [f(4), f(4)])
            for a in grid(axis=(None, -1, 2), epsilon=(None, 1e-2), stash_type=(None, 1))
        ],
    )
    yield from _named("LayerNormalization", [one("LayerNormalization", M, [f(3, 4)], axis=a) for a in (1, -2)])
    yield from _named(
        "InstanceNormalization", [one("InstanceNormalization", C, [f(4), f(4)], **a) for a in grid(epsilon=(None, 0.1))]
    )
    yield from _named(
        "GroupNormalization",
        [one("GroupNormalization", C, [f(4), f(4)], 21, num_groups=g, **a) for g in (1, 2, 4) for a in grid(epsilon=(None, 0.1))],
    )


def _shapes():
    yield from _named("Flatten", [one("Flatten", C, opset=s, **a) for s in (9, 13) for a in grid(axis=(None, 0, 1, 2, 3, 4))])
    yield from _named("Flatten", [one("Flatten", C, axis=a) for a in (-1, -2, -3, -4)])
    yield from _named("Reshape", [one("Reshape", C, [s]) for s in (i(1, -1), i(0, 2, -1), i(-1, 20, 6), i(1, 4, 30), i(0, 0, -1))])
    yield from _named("Transpose", [one("Transpose", M, perm=p) for p in ([0, 2, 1], [0, 1, 2])])
    for op, shape, axes in (
        ("Unsqueeze", M, ([1], [1, 3], [-1], [2, -1])),
        ("Squeeze", [1, 3, 1, 2, 1], ([2], [-1], [2, 4], None)),
    ):
        yield from _named(op, [one(op, shape, [] if a is None else [i(*a)], 13) for a in axes])
        yield from _named(op, [one(op, shape, opset=11, **({} if a is None else {"axes": a})) for a in axes])
    yield from _named(
        "Concat",
        [
            network([helper.make_node("Concat", ["t", "x"], ["y"], axis=a)], M, {"t": f(1, 3, 4)}, s)
            for a in (1, 2, -1, -2)
            for s in (4, 13)
        ],
    )
    for start, end, step in itertools.product((0, 1, -2, -9, 9), (2, -1, 9, -9, 2**40), (1, 2, -1, -2)):
        yield from _named("Slice", [one("Slice", C, [i(start), i(end), i(2), i(step)])])
    yield from _named(
        "Slice", [one("Slice", C, opset=9, starts=[s], ends=[e], axes=[a]) for s in (1, -3) for e in (-1, 99) for a in (1, 3)]
    )
    yield from _named(
        "Gather",
        [
            one("Gather", C, [k], axis=a)
            for a in (1, 2, -1)
            for k in (np.array(1), np.array(-1), i(2, 0, -1), np.array([[0, 1], [-1, 2]]))
        ],
    )
    for axis, sizes in itertools.product((2, -1), ([1, 3], [3, 1], None)):
        nodes = [
            helper.make_node("Split", ["x", "s"] if sizes else ["x"], ["a", "b"], axis=axis),
            helper.make_node("Concat", ["b", "a"], ["y"], axis=axis),
        ]
        yield from _named("Split", [network(nodes, M, {"s": i(*sizes)} if sizes else {}, 13)])
    for axis, count in itertools.product((1, 2), (2, 3)):
        outs = [f"o{k}" for k in range(count)]
        yield from _named(
            "Split",
            [
                network(
                    [
                        helper.make_node("Split", ["x"], outs, axis=axis, num_outputs=count),
                        helper.make_node("Concat", outs[::-1], ["y"], axis=axis),
                    ],
                    [1, 6, 5],
                    {},
                    18,
                )
            ],
        )
    yield from _named("Expand", [one("Expand", [1, 3, 1], [s]) for s in (i(1, 3, 4), i(1, 1, 4), i(4), i(3, 1))])
    yield from _named("Tile", [one("Tile", M, [s]) for s in (i(1, 2, 1), i(1, 1, 3), i(1, 2, 2))])
    padded = (i(0, 0, 1, 2, 0, 0, 0, 1), i(0, 0, 2, 0, 0, 0, 0, 3), i(0, 1, 0, 0, 0, 2, 0, 0), i(0, 0, -1, 1, 0, 0, 0, -2))
    for mode, pads in itertools.product(("constant", "reflect", "edge", "wrap"), padded):
        yield from _named("Pad", [one("Pad", C, [pads, *c], 19, mode=mode) for c in ([], [n(0.5)] if mode == "constant" else [])])
    yield from _named("Pad", [one("Pad", C, [i(1, 2, 0, 1), None, i(2, -1)], 19, mode=m) for m in ("constant", "edge")])
    yield from _named(
        "Pad", [one("Pad", C, opset=9, pads=[0, 0, 1, 2, 0, 0, 0, 1], **a) for a in grid(mode=(None, "edge"), value=(None, 0.3))]
    )
    yield from _named(
        "DepthToSpace",
        [one("DepthToSpace", C, opset=s, blocksize=2, **a) for s in (11, 13) for a in grid(mode=(None, "DCR", "CRD"))],
    )
    yield from _named("SpaceToDepth", [one("SpaceToDepth", [1, 2, 4, 6], blocksize=2)])


def _reductions():
    for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "ReduceSum"):
        new = 13 if op == "ReduceSum" else 18
        axes = ([1], [2, 3], [-1], None)
        yield from _named(op, [one(op, C, opset=11, **a) for a in grid(axes=axes, keepdims=(None, 0, 1))])
        yield from _named(
            op,
            [
                one(op, C, [] if x is None else [i(*x)], new, **a)
                for x in (*axes, [])
                for a in grid(keepdims=(None, 0), noop_with_empty_axes=(None, 1))
            ],
        )


def _resizes():
    modes = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", None)
    near = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", None)
    for scales in ([1, 1, 2, 3], [1, 1, 0.5, 1.5]):
        yield from _named(
            "Resize",
            [
                one("Resize", C, [None, np.array(scales, np.float32)], 19, **a)
                for a in grid(coordinate_transformation_mode=modes, nearest_mode=near)
            ],
        )
    for mode in ("linear", "cubic"):
        more = {"cubic_coeff_a": (None, -0.5), "exclude_outside": (None, 1)} if mode == "cubic" else {}
        for c in ([None, np.array([1, 1, 2, 1.5], np.float32)], [None, None, i(1, 4, 3, 9)]):
            yield from _named(
                "Resize", [one("Resize", C, c, 19, mode=mode, **a) for a in grid(coordinate_transformation_mode=modes, **more)]
            )
    yield from _named(
        "Resize",
        [
            one("Resize", C, [None, None, i(12, 7)], 19, axes=[2, 3]),
            one("Resize", C, [None, None, i(12, 10)], 19, axes=[-2, -1], keep_aspect_ratio_policy="not_larger"),
            one("Resize", C, [None, np.array([1, 1, 0.5, 0.5], np.float32)], 19, mode="linear", antialias=1),
        ],
    )
    yield from _named(
        "Resize",
        [one("Resize", C, [np.array([1, 1, 2, s], np.float32)], 10, mode=m) for s in (1, 3) for m in ("nearest", "linear")],
    )
    yield from _named(
        "Upsample",
        [one("Upsample", C, [np.array([1, 1, 2, s], np.float32)], 9, mode=m) for s in (1, 3) for m in ("nearest", "linear")],
    )
    yield from _named("Upsample", [one("Upsample", C, opset=8, mode=m, scales=[1.0, 1.0, 2.0, 2.0]) for m in ("nearest", "linear")])


def _host():
    """Whole numbers of the file: added to the input, so that an executor sees them."""
    for a, b in itertools.product((i(7, -7, 6, -6), i(-1, 1, 5, -5)), (i(2, -2, 3, -4), i(-3, -3, -3, 3))):
        for op, attrs in (
            ("Div", {}),
            ("Mod", {}),
            ("Mod", {"fmod": 0}),
            ("Mod", {"fmod": 1}),
            ("Max", {}),
            ("Min", {}),
            ("Add", {}),
            ("Mul", {}),
        ):
            nodes = [
                helper.make_node(op, ["a", "b"], ["c"], **attrs),
                helper.make_node("Cast", ["c"], ["d"], to=1),
                helper.make_node("Add", ["x", "d"], ["y"]),
            ]
            yield from _named(op, [network(nodes, M, {"a": a, "b": b})])
    for op in ("ReduceProd", "ReduceSum", "ReduceMax"):
        for axes, noop in itertools.product((None, [], [0], [-1]), (0, 1)):
            given = {} if axes is None else {"e": i(*axes)}
            nodes = [
                helper.make_node(op, ["a", *given], ["c"], keepdims=1, noop_with_empty_axes=noop),
                helper.make_node("Cast", ["c"], ["d"], to=1),
                helper.make_node("Add", ["x", "d"], ["y"]),
            ]
            yield from _named(op, [network(nodes, [1, 2, 2], {"a": np.array([[1, 2], [3, -4]]), **given}, 18)])


def cases():
    """Name and model of every file."""
    seen = Counter()
    for part in (_elementwise, _layers, _shapes, _reductions, _resizes, _host):
        for name, model in part():
            seen[name] += 1
            yield f"{name} #{seen[name]}", model


def run_onnxruntime(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": row[None]})[0].reshape(-1) for row in x])


def run_reference(model, x):
    evaluator = ReferenceEvaluator(onnx.ModelProto.FromString(model.SerializeToString()))
    return np.stack([np.asarray(evaluator.run(None, {"x": row[None]})[0]).reshape(-1) for row in x])


def attempt(run, model, x):
    """An executor's answer, or None where it does not run the file."""
    with suppress(Exception), np.errstate(all="ignore"):  # each has its own classes
        found = run(model, x)
        return None if found.dtype.kind != "f" else found.astype(np.float64)
    return None


def same(a, b):
    """Equal up to float32's rounding."""
    if a is None or b is None or a.shape != b.shape:
        return False
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
    return bool(((np.abs(a - b) <= 2e-5 * scale) | (a == b) | (np.isnan(a) & np.isnan(b))).all())
