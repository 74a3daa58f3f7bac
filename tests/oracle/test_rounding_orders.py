"""What floating point takes: every method's bounds hold for sums in any order, and for rationals. The oracles are plain loops."""

from __future__ import annotations

import itertools
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from epsball.bounding.base import bounders
from epsball.bounding.linear.losses import weigh
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box

TERMS = 64
SCALE = 2.0**20
# in float32 each of the small terms is lost when it joins a 1: the loss comes as near to gamma_n as a sum of n terms can
SWALLOWED = [1.0] + [2.0**-24] * (TERMS - 1)
# each of the small terms is rounded up to twice its size: the sum swells beyond the exact one by as much
SWOLLEN = [1.0] + [2.0**-24 * (1 + 2.0**-10)] * (TERMS - 1)
METHODS = tuple(bounders)
PRECISIONS = (torch.float32, torch.float64)


def one_by_one(terms: list[float]) -> float:
    total = np.float32(0)
    for term in terms:
        total = np.float32(total + np.float32(term))
    return float(total)


ORDERS = (one_by_one(SWALLOWED), one_by_one(SWALLOWED[::-1]))


class Sum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1, keepdim=True)


class Product(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_parameter("weight", nn.Parameter(weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


def summing(kind: str, sign: float, of: list[float] = SWALLOWED) -> tuple[nn.Module, torch.Tensor]:
    """A module and the one input at which its result is `sign` times the sum of some terms."""
    terms, ones = sign * torch.tensor(of), torch.ones(1, TERMS)
    if kind == "sum":
        return Sum(), terms[None]
    if kind == "product":
        return Product(terms[:, None]), ones
    layer = {"linear": nn.Linear(TERMS, 1), "conv": nn.Conv1d(TERMS, 1, 1), "transposed": nn.ConvTranspose1d(TERMS, 1, 1)}[kind]
    with torch.no_grad():
        layer.weight.copy_(terms.view(layer.weight.shape))
        layer.bias.zero_()
    return nn.Sequential(layer, nn.Flatten()), ones if kind == "linear" else ones[..., None]


def amplified(first: nn.Module, sign: float) -> nn.Module:
    """`2^20 (h - 1)` behind a ReLU: what the first sum lost is now of size 4."""
    last = nn.Linear(1, 1)
    with torch.no_grad():
        last.weight.fill_(SCALE)
        last.bias.fill_(-SCALE)
    turn = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        turn.weight.fill_(sign)
    return nn.Sequential(first, turn, nn.ReLU(), last)


@cache
def captured(kind: str, sign: float, *, behind: bool) -> tuple[Network, torch.Tensor]:
    """Capturing takes longer than bounding."""
    module, x = summing(kind, sign)
    return Network.capture(amplified(module, sign) if behind else module, tuple(x.shape[1:])), x


def ends(found: tuple[Network, torch.Tensor], method: str, dtype: torch.dtype, covers: str = "module") -> tuple[float, float]:
    network, x = found
    prepared = network.prepare(dtype, covers)
    rows = Rows(torch.tensor([1.0, -1.0], dtype=dtype).view(2, 1, 1).expand(2, len(x), 1))
    low, high = bounders[method]()(prepared, Box(x, 0.0).to(dtype, x.device), rows)
    return float(low[0]), -float(high[0])


def test_the_orders_differ_by_nearly_all_that_theory_allows() -> None:
    assert ORDERS[0] == 1.0
    assert ORDERS[1] - 1.0 >= (TERMS - 2) * 2.0**-24


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["linear", "conv", "transposed", "sum", "product"])
def test_a_sum_is_bounded_in_every_order(kind: str, method: str) -> None:
    """Behind a ReLU and a gain too: there the loss is taken from a form that passes, not from an end."""
    for dtype, sign in itertools.product(PRECISIONS, (1.0, -1.0)):
        low, high = ends(captured(kind, sign, behind=False), method, dtype)
        assert low <= min(sign * s for s in ORDERS), (dtype, sign)
        assert high >= max(sign * s for s in ORDERS), (dtype, sign)
        low, high = ends(captured(kind, sign, behind=True), method, dtype)
        assert low <= SCALE * (min(ORDERS) - 1), (dtype, sign)
        assert high >= SCALE * (max(ORDERS) - 1), (dtype, sign)
        assert high - low <= 64, "the allowance is one of roundings"


@cache
def around_zero(kind: str, *, behind: bool) -> tuple[Network, torch.Tensor]:
    module, x = summing(kind, 1.0, SWOLLEN)
    return Network.capture(amplified(module, 1.0) if behind else module, tuple(x.shape[1:])), x


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["linear", "conv", "transposed", "sum", "product"])
def test_a_box_around_zero_has_rounding_at_its_corners(kind: str, method: str) -> None:
    """Its centre is 0, and nothing is in proportion to it: what the sum may lose lies in the radius alone."""
    reached = one_by_one(SWOLLEN)
    assert reached - float(sum(map(Fraction, SWOLLEN))) >= 0.99 * (TERMS - 1) * 2.0**-24
    for dtype in PRECISIONS:
        rows = Rows(torch.tensor([1.0, -1.0], dtype=dtype).view(2, 1, 1))
        for behind in (False, True):
            network, x = around_zero(kind, behind=behind)
            box = Box(torch.zeros_like(x), x).to(dtype, x.device)
            low, high = (float(b) for b in bounders[method]()(network.prepare(dtype), box, rows))
            assert -high >= (SCALE * (reached - 1) if behind else reached), (dtype, behind)
            assert behind or low <= -reached, dtype


@pytest.mark.parametrize("method", METHODS)
def test_a_float32_module_is_no_network_in_real_numbers(method: str) -> None:
    """Bounds in float64 of the real network are nearly exact: what the module may do is not in them, and is in those above."""
    exact = float(sum(map(Fraction, SWALLOWED)))
    low, high = ends(captured("linear", 1.0, behind=False), method, torch.float64, "real")
    assert exact - 1e-12 <= low <= exact <= high <= exact + 1e-12


def rational(layers: list[nn.Linear], x: torch.Tensor) -> list[Fraction]:
    """A ReLU network in rationals, by loops."""
    values = [Fraction(v) for v in x.double().tolist()]
    for i, layer in enumerate(layers):
        rows = zip(layer.weight.detach().double().tolist(), layer.bias.detach().double().tolist(), strict=True)
        values = [sum((Fraction(w) * v for w, v in zip(row, values, strict=True)), Fraction(b)) for row, b in rows]
        values = [max(v, Fraction(0)) for v in values] if i + 1 < len(layers) else values
    return values


@cache
def short(width: int) -> tuple[Network, torch.Tensor, list[Fraction]]:
    """A network of short sums, inputs, and its outputs in rationals."""
    generator = torch.Generator().manual_seed(4)
    layers = [nn.Linear(width, width), nn.Linear(width, 1)]
    with torch.no_grad():
        for parameter in (p for layer in layers for p in layer.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(40, width, generator=generator)
    network = Network.capture(nn.Sequential(layers[0], nn.ReLU(), layers[1]), (width,))
    return network, x, [rational(layers, one)[0] for one in x]


@pytest.mark.parametrize("method", METHODS)
def test_short_sums_hold_the_rational_value(method: str) -> None:
    """Of one to three terms: here it is the roundings besides the sum that count, such as those of a bias or of a halved box."""
    for width in (1, 2, 3):
        network, x, exact = short(width)
        rows = Rows(torch.tensor([1.0, -1.0]).view(2, 1, 1).expand(2, len(x), 1))
        low, high = bounders[method]()(network.prepare(torch.float32, "real"), Box(x, 0.0), rows)
        for i, y in enumerate(exact):
            assert Fraction(float(low[i])) <= y <= -Fraction(float(high[i])), (width, i)


@pytest.mark.parametrize("ragged", [False, True])
def test_what_a_form_loses_is_weighed_in_parts_as_in_one(ragged: bool) -> None:
    """Forms of more than a cache: 2.4 MB."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 300, 1000, generator=generator)
    weights = torch.rand(7 if ragged else 300, 1000, generator=generator)
    sample = torch.arange(300) % 7 if ragged else None
    with torch.no_grad():
        found = weigh(Rows(values, sample), weights)
    own = weights[torch.arange(300) % 7] if ragged else weights
    wanted = np.einsum("pqn,qn->pq", values.abs().double().numpy(), own.double().numpy())
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert bool((values < 0).any()), "the forms are as they were"
