"""Linear forms over nodes of any rank, against sums written out."""

from __future__ import annotations

import pytest
import torch

from epsball.forms.rows import Rows, inner, node_flat, node_sum

SHAPES = [(), (1,), (3,), (1, 1), (2, 1, 3), (2, 1, 3, 2)]


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("leading", [1, 2])
def test_a_nodes_axes_are_one(shape, leading):
    values = _numbers(*(4, 5)[:leading], *shape)
    assert node_flat(values, leading).tolist() == values.reshape(*values.shape[:leading], -1).tolist()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ragged", [False, True])
def test_forms_are_those_written_out(shape, ragged):
    values, centre, radius = _numbers(2, 3, *shape), _numbers(3, *shape), _numbers(3, *shape).abs()
    sample = torch.tensor([2, 0, 2]) if ragged else None
    rows = Rows(values, sample)
    owner = sample.tolist() if sample is not None else [0, 1, 2]
    for p in range(2):
        for q in range(3):
            a, c, r = (t.reshape(-1).tolist() for t in (values[p, q], centre[owner[q]], radius[owner[q]]))
            dot = sum(x * y for x, y in zip(a, c, strict=True))
            least = dot - sum(abs(x) * y for x, y in zip(a, r, strict=True))
            assert float(rows.dot(centre)[p, q]) == pytest.approx(dot)
            assert float(rows.minimum(centre, radius)[p, q]) == pytest.approx(least)
            live = rows.like(values.clone().requires_grad_())
            bound = live.minimum(centre, radius)
            assert float(bound[p, q].detach()) == pytest.approx(least)
    (slope,) = torch.autograd.grad(bound.sum(), live.values)
    assert torch.equal(slope, rows.at(centre) - values.sign() * rows.at(radius))
    assert node_sum(values).shape == inner(values, rows.at(centre)).shape == (2, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_neuron_has_its_pair(shape):
    chosen = _numbers(3, *shape) > 0
    rows = Rows.neurons(chosen, torch.float64)
    assert rows.values.shape == (2, int(chosen.sum()), *shape)
    values = _numbers(3, *shape)
    assert rows.dot(values)[0].tolist() == values[chosen].tolist()
