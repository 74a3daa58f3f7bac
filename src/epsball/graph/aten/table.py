"""The table from torch's operators to canonical ones, with per-sample axes: one module a family."""

from epsball.graph.aten import arithmetic, layers, norms, pools, products, recurrent, shapes
from epsball.graph.builder import TABLE, Builder

__all__ = ["TABLE", "Builder", "arithmetic", "layers", "norms", "pools", "products", "recurrent", "shapes"]
