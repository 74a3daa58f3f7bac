"""alpha-CROWN against the LP it converges to, the library whose margins are published, and its own parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.networks import seeded

import zoo
from epsball.bounding.linear.alpha import AlphaCrown, bound_at
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.known import Known
from epsball.errors import BadConfig
from epsball.forms.interval import Interval
from epsball.forms.rows import Rows
from epsball.ops.activations.relu import LeakyRelu
from epsball.ops.joint.products import ElementwiseProduct, MatrixProduct
from epsball.ops.lines import BetweenLines
from epsball.ops.network import Network
from epsball.ops.prepared import prepare
from epsball.ops.shares import Choice, Chosen
from epsball.problem.property import Property, robust
from epsball.problem.sets import Box
from references import preactivations, random_mlp, triangle_lp


@pytest.mark.parametrize("seed", range(8))
def test_many_steps_reach_the_triangle_lp(seed):
    """With intermediate bounds fixed, the best shares are an optimal dual solution of the LP (Salman et al. 2019)."""
    module, weights = random_mlp(seed, (3, 6, 5, 2))
    network = Network.capture(module, (3,)).prepare()
    x = torch.rand(1, 3, dtype=torch.float64)
    c = np.array([1.0, -1.0])
    rows = Property(torch.tensor(c)[None, None]).rows()
    pre = preactivations(network, Crown(), Box(x, 0.4))
    lp = triangle_lp(weights, x[0].numpy(), 0.4, c, pre)
    got = float(AlphaCrown(steps=400, lr=0.05)(network, Box(x, 0.4), rows))
    assert got <= lp + 1e-7
    assert got == pytest.approx(lp, abs=2e-3 * (1 + abs(lp)))


@pytest.mark.parametrize(
    ("kind", "batch", "eps", "optimise", "want"),
    [
        ("mlp", 1, 0.02, "output", -0.39006), ("mlp", 1, 0.02, "all", -0.38853), ("mlp", 16, 0.02, "output", -0.44552),
        ("mlp", 1, 0.1, "output", -6.76871), ("cnn4", 1, 0.02, "output", 0.07084),
    ],
)  # fmt: skip
def test_mean_margins_are_at_least_those_of_auto_lirpa(kind, batch, eps, optimise, want):
    """Values of auto_LiRPA 0.7.1 with 20 iterations on seeded networks, printed there to five decimals."""
    module, x, y = seeded(kind, batch)
    network = Network.capture(module, (1, 28, 28)).prepare(covers="nothing")  # as there: rounding is not given away
    with torch.no_grad():
        got = AlphaCrown(optimise=optimise)(network, Box(x, eps, clip=(0.0, 1.0)), robust(y, 10).rows())
    assert float(got.mean()) >= want - 1e-5


def _known(name: str, **options) -> tuple[Known, Rows, AlphaCrown]:
    module, shape = zoo.build(name, 1, torch.float64)
    network = Network.capture(module, shape)
    method, prepared = AlphaCrown(**options), network.prepare(covers="nothing")
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = Box(x, 0.15)
    rows = robust(torch.zeros(2, dtype=torch.long), network.classes, torch.float64).rows()
    return method.known(prepared, box), rows, method


@pytest.mark.parametrize("name", ["mlp", "leaky", "conv", "residual", "deep_conv", "pools", "tanh", "affine_only"])
def test_never_below_crown_and_the_gradient_mode_changes_nothing(name):
    known, rows, method = _known(name)
    slot = known.network.plan.output
    crown = known.lower_bound(slot, rows)
    with torch.no_grad():
        got = method.improve(known, slot, rows)[0]
    assert bool((got >= crown - 1e-12).all())
    assert torch.equal(got, method.improve(known, slot, rows)[0])


@pytest.mark.parametrize("name", ["leaky", "residual", "deep_conv", "gated", "attention", "plain_matmul"])
def test_any_shares_are_sound(name):
    known, rows, method = _known(name)
    slot, generator = known.network.plan.output, torch.Generator().manual_seed(3)
    choices = method.choices(known, slot, rows)
    samples = torch.stack([known.network.forward(known.input_set.sample(generator)) for _ in range(300)])
    least = torch.stack([(rows.values * y).sum(-1) for y in samples]).amin(0)
    for _ in range(10):
        shares = torch.cat([torch.rand(*least.shape, c.start.shape[-1], generator=generator) for c in choices.values()], -1)
        assert bool((bound_at(known, slot, rows, choices, shares.double()) <= least).all())


@pytest.mark.parametrize("name", ["gated", "attention"])
def test_products_have_shares_that_are_worth_it(name):
    """CROWN's own planes are where the search starts; an optimised product is strictly better somewhere."""
    known, rows, method = _known(name)
    slot = known.network.plan.output
    crown = known.lower_bound(slot, rows)
    choices = method.choices(known, slot, rows)
    products = {step.slot for step in known.network.nonlinear if isinstance(step.op, ElementwiseProduct | MatrixProduct)}
    assert products <= set(choices)
    start = torch.cat([c.start.expand(*crown.shape, -1) for c in choices.values()], -1)
    torch.testing.assert_close(bound_at(known, slot, rows, choices, start), crown, rtol=0, atol=1e-12)
    alone = {s: c for s, c in choices.items() if s in products}
    generator = torch.Generator().manual_seed(0)
    best = crown
    for _ in range(40):
        shares = torch.cat([torch.rand(*crown.shape, c.start.shape[-1], generator=generator) for c in alone.values()], -1)
        best = torch.maximum(best, bound_at(known, slot, rows, alone, shares.double()))
    assert bool((best > crown + 1e-6).any())


@pytest.mark.parametrize("corner", [0.0, 0.3, 1.0])
def test_planes_of_one_product_are_those_of_mccormick(corner):
    """A 1 x 1 matrix product is an elementwise one, and at any share its form is below the product on the whole box."""
    x, y = (Interval(torch.tensor([[[a]]]).double(), torch.tensor([[[b]]]).double()) for a, b in ((-1.0, 2.0), (0.5, 3.0)))
    for sign in (1.0, -1.0):
        rows = Rows(torch.full((1, 1, 1, 1), sign).double())
        share = torch.full((1, 1, 1), corner).double()
        (to_x, to_y), bias = MatrixProduct().choice(rows, "adaptive", x, y).at(share).pull(rows)
        (own_x, own_y), own = ElementwiseProduct().choice(rows, "adaptive", x, y).at(share.repeat(1, 1, 2)).pull(rows)
        if sign > 0:
            torch.testing.assert_close((to_x.values, to_y.values, bias), (own_x.values, own_y.values, own))
        at = torch.cartesian_prod(torch.linspace(-1, 2, 31), torch.linspace(0.5, 3, 31)).double()
        gap = sign * at[:, 0] * at[:, 1] - (to_x.values.item() * at[:, 0] + to_y.values.item() * at[:, 1] + bias.item())
        assert float(gap.min()) == pytest.approx(0, abs=1e-12)  # below everywhere, and it touches


@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_the_written_gradient_is_the_traced_one(spread):
    """Few units with a choice (gathered, with repeats) and many (all)."""
    generator = torch.Generator().manual_seed(1)
    low = torch.randn(3, 8, generator=generator, dtype=torch.float64) * 2 - spread
    pre, op = Interval(low, low + 2 * spread), LeakyRelu(0.1)
    rows = Rows(torch.randn(4, 3, 8, generator=generator, dtype=torch.float64, requires_grad=True))
    flat, steep, start = (op.lines(pre, name) for name in ("zero", "one", "same"))
    choice = Choice.over(rows, ~op.linear(pre), start.lower_slope, flat, steep)
    assert (choice.index is None) == (spread > 1)
    shape = (4, *choice.start.shape)
    share = torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    def pull(values, share):
        (pulled,), bias = Chosen(choice, share).pull(Rows(values))
        return pulled.values, bias

    assert torch.autograd.gradcheck(pull, (rows.values, share))
    ends = [BetweenLines(lines).pull(rows) for lines in (flat, steep)]
    for value, ((pulled,), bias) in zip((0.0, 1.0), ends, strict=True):
        got = pull(rows.values, torch.full(shape, value, dtype=torch.float64))
        torch.testing.assert_close(got[0], pulled.values)
        torch.testing.assert_close(got[1], bias)


def test_the_gradient_in_the_parameters_is_that_at_the_shares_found():
    module, shape = zoo.build("residual", 1, torch.float64)
    network, method = Network.capture(module, shape), AlphaCrown(steps=4)
    box = Box(torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 0.15)
    rows = robust(torch.zeros(2, dtype=torch.long), 3, torch.float64).rows()
    params = {k: v.detach().clone().requires_grad_() for k, v in network.params().items() if v.is_floating_point()}

    def known(values) -> Known:
        prepared = prepare(network.plan, values)
        return method.known(prepared, box)

    def total(values, shares):
        k = known(values)
        slot = k.network.plan.output
        return bound_at(k, slot, rows, method.choices(k, slot, rows), shares).sum()

    slot = network.plan.output
    with torch.no_grad():
        k = known(params)
        choices = method.choices(k, slot, rows)
        shares = method._ascend(k, slot, rows, choices, torch.full((2, 2), -1e9, dtype=torch.float64))[1]
    method.improve(known(params), slot, rows)[0].sum().backward()
    direction = {k: torch.randn(v.shape, generator=torch.Generator().manual_seed(2), dtype=v.dtype) for k, v in params.items()}
    slope = sum((v.grad * direction[k]).sum() for k, v in params.items() if v.grad is not None)
    with torch.no_grad():
        ends = [total({k: v + s * 1e-6 * direction[k] for k, v in params.items()}, shares) for s in (1, -1)]
    assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=2e-4, abs=1e-5)


@pytest.mark.parametrize("options", [{"steps": -1}, {"lr": 0.0}, {"decay": 1.5}, {"optimise": "some"}])
def test_wrong_options_are_refused(options):
    with pytest.raises(BadConfig):
        AlphaCrown(**options)
