"""Bound rules of every operator; importing this package registers them."""

from epsball.bounding.operators import (
    conv,
    conv_transpose,
    elementwise,
    linear,
    max_pool,
    nonlinear,
    normalised,
    pool,
    products,
    reduce,
    shape,
    softmax,
)

__all__ = [
    "conv",
    "conv_transpose",
    "elementwise",
    "linear",
    "max_pool",
    "nonlinear",
    "normalised",
    "pool",
    "products",
    "reduce",
    "shape",
    "softmax",
]
