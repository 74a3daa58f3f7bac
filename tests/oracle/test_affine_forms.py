"""Zonotopes and forward bounds against a plain DeepZ, against CROWN, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import zoo
from epsball.bounding.affine.form import AffineForm, through
from epsball.bounding.affine.forward import Forward, forward_intervals
from epsball.bounding.affine.symbols import Numbering, union
from epsball.bounding.affine.zonotope import Zonotope
from epsball.bounding.base import output_interval
from epsball.bounding.ibp import Ibp, intervals
from epsball.bounding.intersection import Intersection
from epsball.bounding.linear.crown import Crown, CrownIbp
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.ops.activations.relu import Relu
from epsball.ops.affine.scale_shift import Sum
from epsball.ops.network import Network
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box
from references import random_mlp, zonotope


@pytest.mark.parametrize("seed", range(10))
def test_the_zonotope_is_deepz(seed):
    module, weights = random_mlp(seed, (4, 6, 5, 5, 3))
    network = Network.capture(module, (4,)).prepare()
    x = torch.rand(2, 4, dtype=torch.float64)
    c = np.array([1.0, -1.0, 0.0])
    rows = Property(torch.tensor(c)[None, None].expand(1, 2, 3)).rows()
    got = Zonotope()(network, Box(x, 0.3), rows)[0]
    assert got.tolist() == pytest.approx([zonotope(weights, row.numpy(), 0.3, c) for row in x], abs=1e-10)


def _case(name: str, eps: float = 0.08):
    network = Network.capture(*zoo.build(name, 1, torch.float64))
    x = torch.rand(2, *network.input_shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return network.prepare(), Box(x, eps), robust(torch.zeros(2, dtype=torch.long), network.classes, torch.float64).rows()


@pytest.mark.parametrize("name", ["mlp", "leaky", "conv", "conv_1d", "residual", "deep_conv"])
def test_the_zonotope_is_same_slope_crown(name):
    """On a box that is not cut, residual and convolutional networks included."""
    network, box, rows = _case(name)
    crown = Crown(slope="same", intermediate="crown")(network, box, rows)
    torch.testing.assert_close(Zonotope()(network, box, rows), crown, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "conv", "residual", "pools", "tanh", "shapes"])
def test_forward_bounds_lie_between_intervals_and_zonotopes(name):
    network, box, rows = _case(name)
    plain, better = intervals(network, box.hull()), forward_intervals(network, box)
    for slot, interval in better.items():
        assert bool((interval.lower >= plain[slot].lower - 1e-12).all() & (interval.upper <= plain[slot].upper + 1e-12).all())
    forward = Forward()(network, box, rows)
    assert bool((forward <= Zonotope(meet=True)(network, box, rows) + 1e-10).all())
    through_forward = Crown(intermediate="forward", slope="same")(network, box, rows)
    assert bool((forward <= through_forward + 1e-10).all())


@pytest.mark.parametrize("name", ["mlp", "conv", "residual"])  # a max-pool starts from intervals anew
def test_one_hidden_layer_more_is_where_forward_gains(name):
    """Forward intervals are strictly tighter somewhere, and CROWN over them is tighter in the mean."""
    network, box, rows = _case(name)
    plain, better = intervals(network, box.hull()), forward_intervals(network, box)
    widths = [float((plain[s].width - better[s].width).max()) for s in better]
    assert max(widths) > 1e-6 or len(network.nonlinear) == 1
    assert float(Crown(intermediate="forward")(network, box, rows).sum()) >= float(CrownIbp()(network, box, rows).sum()) - 1e-9


def test_the_intersection_dominates_each_method():
    network, box, rows = _case("residual", 0.2)
    methods = (Ibp(), CrownIbp(), Crown(slope="same"), Zonotope())
    together = Intersection(methods)(network, box, rows)
    each = [method(network, box, rows) for method in methods]
    assert torch.equal(together, torch.stack(each).amax(0))
    assert bool((output_interval(Intersection(methods), network, box).width > 0).all())
    with pytest.raises(BadConfig, match="no methods"):
        Intersection(())


def _branches(depth: int) -> Network:
    """ReLU branches of several depths that meet, twice: symbols of one branch come between those of another."""
    torch.manual_seed(depth)

    def run(m: zoo.Fn, x: torch.Tensor) -> torch.Tensor:
        h = m.stem(x)
        left, right = torch.relu(m.a(h)), torch.relu(m.b(h))
        for layer in m.deep:
            right = torch.relu(layer(right))
        h = left - right
        return m.head(torch.relu(m.c(h)) - torch.relu(m.d(h)) + 0.5 * h - torch.relu(left - 0.1))

    layers = torch.nn.ModuleList(torch.nn.Linear(5, 5) for _ in range(depth))
    parts = {name: torch.nn.Linear(5, 5) for name in "abcd"}
    module = zoo.Fn(run, stem=torch.nn.Linear(4, 5), head=torch.nn.Linear(5, 3), deep=layers, **parts)
    return Network.capture(module.double(), (4,))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_on_branches_the_zonotope_is_same_slope_crown(depth):
    """The symbols of two branches are different unknowns: the forward walk then agrees with the backward one, which has none."""
    network = _branches(depth)
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.5
    rows = robust(torch.zeros(3, dtype=torch.long), 3, torch.float64).rows()
    crown = Crown(slope="same", intermediate="crown")(network.prepare(), Box(x, 0.4), rows)
    torch.testing.assert_close(Zonotope()(network.prepare(), Box(x, 0.4), rows), crown, rtol=1e-10, atol=1e-10)


def test_columns_are_laid_out_by_symbol():
    numbering = Numbering()
    first, second, third = (numbering.fresh(count) for count in (2, 3, 1))
    assert union([first, second]).spans == ((0, 5),)
    ends = union([third, first])
    assert ends.spans == ((0, 2), (5, 6))
    assert len(ends) == 3
    whole = union([ends, second])
    columns = torch.arange(1.0, 4.0)[None]
    assert ends.lay(columns, whole).tolist() == [[1, 2, 0, 0, 0, 3]]
    assert second.lay(columns, whole).tolist() == [[0, 0, 1, 2, 3, 0]]
    assert whole.lay(torch.ones(1, 6), whole).tolist() == [[1] * 6]
    assert numbering.none().lay(columns[:, :0], ends).tolist() == [[0, 0, 0]]


def test_symbols_of_two_walks_are_never_joined():
    """In each walk the number 0 is another unknown."""
    x = torch.zeros(1, 2)
    forms = [AffineForm.of_input(x, numbering) for numbering in (Numbering(), Numbering())]
    pre, reach = Interval(x - 1, x + 1), torch.ones(1, 2)
    bent = [through(Relu(), [form], [pre], "same", reach, fresh=True) for form in forms]
    assert [form.symbols.spans for form in bent] == [((0, 2),), ((0, 2),)]
    with pytest.raises(TypeError, match="two numberings"):
        through(Sum(-1), bent, [pre, pre], "same", reach, fresh=True)
    own = through(Relu(), forms[:1], [pre], "same", reach, fresh=True)
    other = through(Relu(), forms[:1], [pre], "same", reach, fresh=True)
    assert through(Sum(-1), [own, other], [pre, pre], "same", reach, fresh=True).noise.shape[1] == 4
    assert float(through(Sum(-1), [own, own], [pre, pre], "same", reach, fresh=True).noise.abs().max()) == 0
