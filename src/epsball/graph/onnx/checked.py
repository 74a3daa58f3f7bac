"""A loaded network beside another program that runs the same file: what differs was read wrongly, and is refused.

The other program is onnxruntime where it is installed, else the reference implementation that comes with onnx.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from epsball.errors import BadCapture
from epsball.graph.onnx.calls import Array

if TYPE_CHECKING:
    from epsball.graph.onnx.module import OnnxNetwork

Runner = Callable[[Array], Array]
_ROUNDING = 128  # units in the last place of the largest output
_ORDERS = 32  # times the module's own rounding, which is seen by computing it in float64


def agree(module: OnnxNetwork, data: bytes) -> str:
    """Compare a module with an independent executor of its file, on corners of [0, 1], on points inside and on points around it.

    Args:
        module: read from the file.
        data: the file itself.

    Returns:
        The executor's name.

    Raises:
        BadCapture: they differ by more than rounding, or no executor runs the file.
    """
    program, failed, x = module.program, [], samples(module)
    for name, start, rows in (("onnxruntime", _onnxruntime, x), ("onnx.reference", _reference, x[1::3])):  # the second is slow
        try:
            expected = _answers(name, start, module, data, rows)
        except _NotRunError as error:
            failed.append(str(error))
            continue
        _compare(module, rows, expected, name)
        return name
    raise BadCapture(
        f"no other program runs this file, so that nothing says it was read rightly ({'; '.join(failed)})",
        where=program.where,
        fix="onnx.checker.check_model says what is wrong with the file; pip install onnxruntime",
    )


class _NotRunError(Exception):
    """An executor that is not installed, or does not run the file."""


def _answers(name: str, start: Callable[[bytes, str], Runner], module: OnnxNetwork, data: bytes, rows: Array) -> Array:
    try:
        run = start(data, module.program.input)
        return np.stack([run(row).reshape(-1) for row in _shaped(rows, module.program.layout)])
    except Exception as error:  # each executor has its own classes
        raise _NotRunError(f"{name}: {(str(error).strip().splitlines() or [type(error).__name__])[0][:200]}") from error


def samples(module: OnnxNetwork) -> Array:
    """Inputs (S, *x) of the declared shape and type: two corners of one value, two mixed ones, three inside and two around."""
    generator, shape = np.random.default_rng(0), module.program.input_shape
    corners = generator.integers(0, 2, size=(2, *shape)).astype(float)
    listed = [
        np.zeros((1, *shape)),
        np.ones((1, *shape)),
        corners,
        generator.random((3, *shape)),
        generator.normal(size=(2, *shape)),
    ]
    return np.concatenate(listed).astype(module.program.dtype)


def _shaped(rows: Array, layout: str) -> Iterator[Array]:
    """One sample after the other, with a batch axis where the file has one."""
    yield from (row if layout == "none" else row[None] for row in rows)


def _onnxruntime(data: bytes, name: str) -> Runner:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the file as it stands
    session: Any = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda row: np.asarray(session.run(None, {name: np.ascontiguousarray(row)})[0])


def _reference(data: bytes, name: str) -> Runner:
    import onnx
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(onnx.ModelProto.FromString(data))
    return lambda row: np.asarray(evaluator.run(None, {name: row})[0])


def _compare(module: OnnxNetwork, rows: Array, expected: Array, name: str) -> None:
    x = torch.from_numpy(rows)
    given = _run(module, x)
    if given.shape == expected.shape:
        scale = np.abs(np.where(np.isfinite(expected), expected, 0)).max(axis=1, keepdims=True)
        allowed = _ROUNDING * np.finfo(rows.dtype).eps * scale + np.finfo(rows.dtype).tiny
        if _near(given, expected, allowed):
            return
        # a network may lose more than that by its order of sums: as much as it does against its own exact value
        wide = _run(copy.deepcopy(module).double(), x.double())
        own = np.abs(np.where(np.isfinite(wide - given), wide - given, 0)).max(axis=1, keepdims=True)
        if _near(given, expected, allowed + _ORDERS * own):
            return
    where = np.argmax(np.where(given == expected, 0, np.abs(given - expected)).max(axis=0)) if given.shape == expected.shape else 0
    operators = sorted({step.op for step in module.program.steps})
    raise BadCapture(
        f"{name} computes something else from this file: output {where} is {_shown(expected, where)} by it and "
        f"{_shown(given, where)} as read here",
        where=module.program.where,
        fix=f"please report the file; one of its operators is misread: {', '.join(operators)}",
    )


def _run(module: OnnxNetwork, x: torch.Tensor) -> Array:
    with torch.no_grad():
        made: Array = module(x.reshape(len(x), *module.input_shape)).numpy()
    return made


def _near(given: Array, expected: Array, allowed: Array) -> bool:
    with np.errstate(invalid="ignore"):
        close = np.abs(given - expected) <= allowed
    return bool((close | (given == expected) | (np.isnan(given) & np.isnan(expected))).all())


def _shown(values: Array, where: Any) -> str:
    return f"{[float(f'{v:.6g}') for v in values[:3, where]]} on three inputs" if values.shape[1] else "nothing"
