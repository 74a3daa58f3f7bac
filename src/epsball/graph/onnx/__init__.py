"""ONNX files as modules: read as data, run by a table of operators, captured like any other module."""

from epsball.graph.onnx.module import OnnxNetwork
from epsball.graph.onnx.read import is_onnx, load_onnx

__all__ = ["OnnxNetwork", "is_onnx", "load_onnx"]
