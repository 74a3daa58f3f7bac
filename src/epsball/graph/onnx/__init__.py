"""ONNX files as modules: a file is read as data, its nodes run by a table of operators, and the module is captured like any other."""

from epsball.graph.onnx.module import OnnxNetwork
from epsball.graph.onnx.read import is_onnx, load_onnx

__all__ = ["OnnxNetwork", "is_onnx", "load_onnx"]
