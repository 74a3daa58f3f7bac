"""Contracts of every operator and bound method on values of any rank: one number a sample, and axes of length 1.

The oracle is dense sampling of the module itself, on samples so far apart that a sum across them could not hide.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pair_zoo
import zoo
from epsball.bounding.base import bounders, output_interval
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.ops.elementwise import relaxations
from epsball.ops.network import Network
from epsball.ops.operator import operators
from epsball.problem.sets import Box, LpBall

METHODS = {name: method() for name, method in bounders.items()}
METHODS |= {"alpha-crown": AlphaCrown(steps=2), "alpha-crown-all": AlphaCrownAll(steps=1)}
SLOW = {"alpha-crown", "alpha-crown-all", "dual", "intersection"}  # at every rank they move the rows that crown moves
SHAPES = [(), (1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)]
X = torch.tensor([[0.1, -0.4], [9.0, 4.0], [-8.0, 3.0]], dtype=torch.float64)
EPS = 0.3


def _numbers(shape: tuple[int, ...]) -> zoo.Fn:
    """Each operator of one number on a value of this shape, twice over: the second time rows of single neurons go through them."""

    def run(m: zoo.Fn, x: Tensor) -> Tensor:
        h = m.stem(x)
        parts = [h[:, 0], h.sum(1), h.mean(1) + m.shift, x[:, 1] - h[:, 2]]
        parts = [part.view(-1, *shape) for part in parts]
        made = [pair_zoo.pointwise(name, parts[k % 4]) for k, name in enumerate(pair_zoo.POINTWISE)]
        made = [made[k] * m.scale - torch.relu(made[k - 1]) / 3 for k in range(len(made))]
        made += [made[0] * made[1], -made[2], 2 - made[3], torch.maximum(made[4], made[5])]
        flat = torch.stack(made, 1).flatten(1)
        return torch.cat([torch.relu(flat + 0.1), flat], 1)  # read by an operator, and by the specification itself

    return zoo.Fn(run, stem=nn.Linear(2, 3), shift=torch.tensor(0.3), scale=torch.full((1,) * len(shape), 0.7))


def _structured() -> zoo.Fn:
    """Each operator that knows its axes, with axes of length 1 or on the way to one number a sample."""

    def run(m: zoo.Fn, x: Tensor) -> Tensor:
        h = torch.tanh(m.stem(x)) + x
        one = h[:, :1]  # (B, 1)
        row, plane, solid = one[:, None], one[:, None, None], one[:, None, None, None]
        made = [m.linear(one), m.conv1(row), m.conv2(plane), m.conv3(solid), m.up1(row), m.up2(plane), m.up3(solid)]
        made += [m.norm(torch.relu(one)), torch.softmax(one, 1) * one, torch.logsumexp(one, 1), torch.logsumexp(h, 1).square()]
        made += [F.layer_norm(one, (1,), eps=0.1) + one, F.rms_norm(one, (1,), eps=0.1), F.rms_norm(h, (2,), eps=0.1)[:, 1]]
        made += [F.max_pool2d(plane, 1), F.max_pool1d(h[:, None], 2), F.avg_pool1d(row, 1), F.avg_pool1d(h[:, None], 2)]
        made += [F.avg_pool2d(plane, 1), F.avg_pool3d(solid, 1), F.adaptive_avg_pool1d(h[:, None], 1)]
        made += [F.adaptive_avg_pool2d(plane * 2, 1), F.adaptive_avg_pool3d(solid * 2, 1)]
        made += [F.interpolate(plane, scale_factor=1.0, mode="bilinear"), F.interpolate(row, scale_factor=1.0, mode="nearest")]
        made += [
            row @ torch.tanh(row),
            (row @ m.weight) @ h[:, :, None][:, 1:],
            (h[:, None] @ torch.relu(h)[:, :, None]).sum((1, 2)),
        ]
        made += [one.expand(-1, 2).sum(1), F.pad(h, (-1, 0)), F.pad(h, (0, -1)), h.flip(1)[:, 0], h.roll(1, 1)[:, 1], h[:, m.index]]
        made += [(row.transpose(1, 2) - 1).squeeze(1), -one, 1 - h[:, 1] / 3, h.mean((1,)), torch.where(m.mask, one, 0.3)]
        made += [
            torch.bmm(row, row).sum((1, 2)),
            h.amax(1),
            h.amin(1, keepdim=True),
            torch.cat([one[:, 0:1], m.row.expand(len(x), 1)], 1),
        ]
        made += [F.scaled_dot_product_attention(row, row, row, is_causal=True), x[:, 0], x.sum(1), F.prelu(one, m.weight[0, 0])]
        flat = torch.cat([part.reshape(len(x), -1) for part in made], 1)
        return torch.tanh(flat) + flat.sum(1)[:, None] / 50

    parts = {f"conv{d}": getattr(nn, f"Conv{d}d")(1, 1, 1) for d in (1, 2, 3)}
    parts |= {f"up{d}": getattr(nn, f"ConvTranspose{d}d")(1, 1, 1) for d in (1, 2, 3)}
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(0.2)
    norm.running_var.fill_(1.7)
    tensors = {
        "index": torch.tensor([1]),
        "mask": torch.tensor([True]),
        "row": torch.tensor([[0.4]]),
        "weight": torch.tensor([[0.6]]),
    }
    return zoo.Fn(run, stem=nn.Linear(2, 2), linear=nn.Linear(1, 1), norm=norm, **parts, **tensors)


def _captured(module: zoo.Fn) -> Network:
    torch.manual_seed(4)
    for p in module.parameters():
        nn.init.uniform_(p, -1.0, 1.0)
    return Network.capture(module.double().eval(), (2,))


def _holds(network: Network, names: set[str]) -> None:
    """Methods on one sample and on three together, against a grid over each box and ball."""
    share = torch.linspace(-1, 1, 41, dtype=torch.float64)
    grid = EPS * torch.cartesian_prod(share, share)
    prepared = network.prepare()
    with torch.no_grad():
        values = network.module((X[:, None] + grid).flatten(0, 1)).unflatten(0, (len(X), -1))
        for kind, inside in (("linf", grid.norm(dim=1) >= 0), ("l2", grid.norm(dim=1) <= EPS)):
            least, most = values[:, inside].amin(1), values[:, inside].amax(1)
            slack = 1e-9 * (1 + torch.maximum(least.abs(), most.abs()))
            for name in sorted(names if kind == "linf" else names & {"crown", "zonotope", "forward"}):
                for own in (slice(None),) if kind == "l2" or name in SLOW else (slice(0, 1), slice(None)):
                    x = X[own]
                    found = output_interval(METHODS[name], prepared, Box(x, EPS) if kind == "linf" else LpBall(x, EPS, "l2"))
                    assert bool((found.lower <= least[own] + slack[own]).all()), (name, kind, own)
                    assert bool((found.upper >= most[own] - slack[own]).all()), (name, kind, own)
                    width = (most - least + 1)[own]
                    assert bool(((found.upper - found.lower) / width < 1e3).all()), (name, kind, own)  # no bound at all


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operators_of_one_number_at_any_rank(shape):
    network = _captured(_numbers(shape))
    used = {node.op for node in network.graph.nodes if node.shape == shape}
    assert set(relaxations) | {"add", "sub", "mul", "neg"} <= used
    _holds(network, set(METHODS) if shape == () else set(METHODS) - SLOW)


@pytest.mark.slow
def test_operators_that_know_their_axes_at_length_one():
    network = _captured(_structured())
    shapes = {node.name: node.shape for node in network.graph.nodes}
    ones = {n.op for n in network.graph.nodes if 1 in {math.prod(n.shape), *(math.prod(shapes[name]) for name in n.inputs)}}
    assert set(operators) <= ones | set(relaxations)
    _holds(network, set(METHODS))


@pytest.mark.slow
def test_samples_of_one_number_each_are_not_mixed():
    """Known by heart: relu on [5, 6], [-0.5, 0.5] and [-8, -7] is [5, 6], [0, 0.5] and 0, beside the second number itself."""
    network = Network.capture(zoo.Fn(lambda m, x: torch.stack([torch.relu(x[:, 0]), x[:, 1]], 1) * m.one, one=torch.ones(2)), (2,))
    x = torch.tensor([[5.5, 1.0], [0.0, 2.0], [-7.5, 3.0]])
    for name in ("ibp", "crown", "zonotope", "forward", "dual"):
        found = output_interval(METHODS[name], network.prepare(), Box(x, torch.tensor([0.5, 0.0])))
        torch.testing.assert_close(found.lower[:, 1], x[:, 1], atol=5e-5, rtol=0, msg=name)
        torch.testing.assert_close(found.upper, torch.tensor([[6.0, 1.0], [0.5, 2.0], [0.0, 3.0]]), atol=5e-5, rtol=0, msg=name)
        stable = torch.tensor([0, 2])  # at a kink a line below may be lower than the least value
        torch.testing.assert_close(found.lower[stable, 0], torch.tensor([5.0, 0.0]), atol=5e-5, rtol=0, msg=name)
