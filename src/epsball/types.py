"""The axis glossary: what the letters in the shapes of this package mean.

=====  ===========================================================
``B``  samples of a batch
``R``  linear forms (rows of a specification) for each sample
``P``  the leading axis of `Rows`: rows of a specification, or the pair (lower, minus upper)
``Q``  the second axis of `Rows`: samples, or neurons of a ragged list
``K``  classes
``*x`` the shape of one input without the batch
``*n`` the shape of one node's value without the batch
=====  ===========================================================

Shapes are checked by beartype in the tests only; at run time an annotation costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

Params = dict[str, Tensor]
Function = nn.Module | Callable[[Tensor], Tensor]  # a user's own network, from (B, *x) to (B, K)

__all__ = ["Bool", "Float", "Function", "Int", "Params", "Shaped", "Tensor"]
