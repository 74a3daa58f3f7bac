"""The shapes of rows and properties are checked in every test, also where a shape passed before."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from epsball.forms.rows import Rows, inner
from epsball.problem.property import Property
from shape_checks import jaxtyped


def test_wrong_shapes_are_seen_after_right_ones():
    rows = Rows(torch.rand(2, 3, 4))
    for _ in range(3):
        assert inner(rows.values, torch.rand(3, 4)).shape == (2, 3)
        with pytest.raises(TypeCheckError):
            inner(rows.values, torch.rand(2, 4))
        with pytest.raises(TypeCheckError):
            inner(rows.values, torch.ones(3, 4, dtype=torch.long))
        with pytest.raises(TypeCheckError):
            Rows([[1.0]])
        with pytest.raises(TypeCheckError):
            Property(torch.rand(1, 2, 3)).margins(torch.rand(1, 2, 3))


def test_a_wrong_result_is_seen_after_right_ones_of_the_same_arguments():
    out = [torch.rand(3)]

    @jaxtyped(typechecker=beartype)
    def last(x: Float[Tensor, " n"], *, keep: int = 0) -> Float[Tensor, " n"]:
        return out[keep]

    assert last(torch.rand(3)) is last(torch.rand(3), keep=0) is last(torch.rand(3)) is out[0]
    out[0] = torch.rand(4)
    for _ in range(2):
        with pytest.raises(TypeCheckError):
            last(torch.rand(3))
        assert last(torch.rand(4)) is out[0]
