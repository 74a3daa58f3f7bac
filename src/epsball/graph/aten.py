"""The table from torch's operators to canonical ones, with per-sample axes: one module a family."""

from epsball.graph import aten_arithmetic, aten_layers, aten_norms, aten_pools, aten_products, aten_recurrent, aten_shapes
from epsball.graph.builder import TABLE, Builder

__all__ = [
    "TABLE",
    "Builder",
    "aten_arithmetic",
    "aten_layers",
    "aten_norms",
    "aten_pools",
    "aten_products",
    "aten_recurrent",
    "aten_shapes",
]
