"""A network from any file this package reads: its own checkpoints and run folders, and ONNX files."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from epsball.graph.onnx import is_onnx, load_onnx
from epsball.models.store import load_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from epsball.graph.graph import Shape


def open_model(path: Path, data_shape: Shape | None = None) -> tuple[nn.Module, Shape]:
    """A network in evaluation mode on the CPU, and the shape of one of its inputs.

    Args:
        path: a run folder, a .safetensors checkpoint, or an .onnx or .onnx.gz file.
        data_shape: of the inputs it will be given. An ONNX file often declares its inputs flat: where the number of elements is the
            same, they are read in row-major order.

    Raises:
        BadFile: missing, truncated, foreign or malformed.
        UnsupportedOp: an ONNX operator that is not covered.
        MissingExtra: onnx is not installed.
    """
    if not is_onnx(path):
        module, architecture, _ = load_model(path)
        return module, architecture.input_shape
    network = load_onnx(path)
    if data_shape is not None and math.prod(data_shape) == math.prod(network.input_shape):
        network.input_shape = tuple(data_shape)
    return network, network.input_shape
