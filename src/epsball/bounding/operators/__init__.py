"""Bound rules of every operator; importing this package registers them."""

from epsball.bounding.operators import conv, elementwise, linear, max_pool, nonlinear, pool, reduce, shape

__all__ = ["conv", "elementwise", "linear", "max_pool", "nonlinear", "pool", "reduce", "shape"]
