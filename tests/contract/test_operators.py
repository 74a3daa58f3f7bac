"""Contracts of every operator: affine ones are affine, their pull is the transpose, and the zoo leaves none out."""

from __future__ import annotations

import pytest
import torch

import zoo
from epsball.bounding.linear.crown import CrownIbp
from epsball.bounding.linear.walk import pull_back
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.forms.windows import Windows
from epsball.ops.network import Network
from epsball.ops.operator import Affine, Autodiff, Nonlinear, operators
from epsball.problem.sets import Box


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return zoo.Captured()


@pytest.mark.slow
def test_the_zoo_uses_every_operator(networks):
    used = {op for name in zoo.NETWORKS for op in networks[name].graph.operators()}
    assert set(operators) == used


def _steps(network: Network):
    """Every bound step with its argument shapes, folded batch norms included."""
    prepared = network.prepare()
    shapes = {step.slot: step.node.shape for step in network.plan.steps} | {0: network.input_shape}
    return [(step, [shapes[slot] for slot in step.args]) for step in prepared.steps]


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_affine_operators_are_affine_and_pull_is_their_transpose(networks, name):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for step, shapes in _steps(networks[name]):
        if not isinstance(step.op, Affine):
            continue
        a, b = [draw(4, *s) for s in shapes], [draw(4, *s) for s in shapes]
        zero = [torch.zeros_like(x) for x in a]
        f = step.op.value
        both = f(*(x + y for x, y in zip(a, b, strict=True)))
        torch.testing.assert_close(both - f(*b), f(*a) - f(*zero))

        rows = draw(4, *f(*a).shape[1:])
        pulled = step.op.pull(rows)
        inner = sum((p * x).flatten(1).sum(1) for p, x in zip(pulled, a, strict=True))
        torch.testing.assert_close((rows * (f(*a) - f(*zero))).flatten(1).sum(1), inner)
        for p, q in zip(pulled, Autodiff(f, tuple(shapes))(rows), strict=True):
            torch.testing.assert_close(p, q)

        offset = step.op.offset(Rows(rows[None]))
        expected = (rows * f(*zero)).flatten(1).sum(1)[None]
        torch.testing.assert_close(torch.zeros_like(expected) if offset is None else offset, expected)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_affine_intervals_are_the_tightest(networks, name):
    """Each end is attained: it equals the extreme of the linear form over the box, row by row."""
    generator = torch.Generator().manual_seed(4)
    for step, shapes in _steps(networks[name]):
        if not isinstance(step.op, Affine) or len(shapes) > 1:
            continue
        low = torch.randn(2, *shapes[0], generator=generator, dtype=torch.float64)
        box = Interval(low, low + torch.rand(low.shape, generator=generator, dtype=torch.float64))
        got = step.op.interval(box)
        chosen = torch.ones_like(got.lower, dtype=torch.bool)
        rows = Rows.neurons(chosen, torch.float64)
        pulled = rows.unflat(step.op.pull(rows.flat())[0])
        offset = step.op.offset(rows)
        least = pulled.minimum(*box.centre_radius()) + (0 if offset is None else offset)
        torch.testing.assert_close(got.lower.flatten(), least[0])
        torch.testing.assert_close(got.upper.flatten(), -least[1])


def _boxes(shapes, generator, width: float) -> list[Interval]:
    """Boxes around numbers in [1.4, 2], inside every operator's domain, and of the same corner where width is 0."""
    found = []
    for shape in shapes:
        low = 1.4 + 0.6 * torch.rand(3, *shape, generator=generator, dtype=torch.float64)
        found.append(Interval(low, low + width * torch.rand(low.shape, generator=generator, dtype=torch.float64)))
    return found


@pytest.mark.parametrize("width", [0.0, 1e-3, 0.3, 3.0])
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_nonlinear_operators_lie_between_their_lines_and_in_their_interval(networks, name, width):
    generator = torch.Generator().manual_seed(6)
    for step, shapes in _steps(networks[name]):
        if not isinstance(step.op, Nonlinear) or step.node.op == "normalised":  # whose two arguments are tied to each other
            continue
        shift = 2.5 if step.node.op not in {"log", "sqrt", "rsqrt", "reciprocal", "pow"} else 0.0
        pre = [Interval(b.lower - shift, b.upper - shift) for b in _boxes(shapes, generator, width)]
        box, lines = step.op.interval(*pre), step.op.relax(*pre)
        rows = Rows(torch.randn(4, 3, *step.node.shape, generator=generator, dtype=torch.float64))
        pulled, bias = lines.pull(rows)
        for mask, b in zip(step.op.settled(*pre), pre, strict=True):
            assert mask.shape == b.lower.shape
            assert width > 0 or bool(mask.all()) or step.node.op == "max_pool2d"
        for trial in range(30):
            shares = [torch.rand(b.lower.shape, generator=generator, dtype=torch.float64) for b in pre]
            shares = [s.round() if trial % 2 else s for s in shares]
            x = [torch.lerp(*b, s) for b, s in zip(pre, shares, strict=True)]
            y = step.op.value(*x)
            assert bool(box.contains(y, slack=1e-11).all())
            least = sum(form.dot(value) for form, value in zip(pulled, x, strict=True)) + (0 if bias is None else bias)
            exact = rows.dot(y)
            assert float((least - exact).max()) <= 1e-10
            if width == 0:
                torch.testing.assert_close(least, exact)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_the_folded_network_is_the_same_function(networks, name):
    network = networks[name]
    x = torch.rand(6, *network.input_shape, dtype=torch.float64)
    torch.testing.assert_close(network.prepare().forward(x), network.module(x))


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_forms_on_windows_are_the_dense_ones(networks, name):
    """From every neuron of every feature map back to the input, layer by layer, through affine operators alone and with lines."""
    network = networks[name].prepare()
    box = Box(torch.rand(2, *networks[name].input_shape, dtype=torch.float64), 0.1)
    known = CrownIbp().known(network, box)
    found, relaxed = known.found, known.relaxed
    for step in network.steps:
        shape = torch.Size(step.node.shape)
        if len(shape) != 3:
            continue
        for passed in (relaxed, {}):
            where = torch.ones(2, shape.numel(), dtype=torch.bool).nonzero()
            forms = [layout.pairs(where[:, 0], where[:, 1], shape, torch.float64) for layout in (Windows, Rows)]
            torch.testing.assert_close(forms[0].dense().values, forms[1].values)
            small, large = (pull_back(network, step.slot, form, passed) for form in forms)
            assert small.widest <= large.widest
            if large.bias is not None:
                torch.testing.assert_close(small.bias, large.bias)
            assert [slot for slot, _ in small.terms] == [slot for slot, _ in large.terms]
            for (slot, a), (_, b) in zip(small.terms, large.terms, strict=True):
                torch.testing.assert_close(a.dense().values, b.values)
                if slot in found:
                    torch.testing.assert_close(a.minimum(*found[slot].centre_radius()), b.minimum(*found[slot].centre_radius()))
