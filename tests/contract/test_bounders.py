"""Contracts of every bound method on every network and set: sound, exact on points, finite, differentiable."""

from __future__ import annotations

import pytest
import torch

import zoo
from epsball.bounding.base import bounders, output_interval
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.bounding.linear.crown import Crown
from epsball.ops.network import Network
from epsball.ops.prepared import prepare
from epsball.problem.property import robust
from epsball.problem.sets import Box, LpBall

METHODS = {name: method() for name, method in bounders.items()}
METHODS |= {"alpha-crown": AlphaCrown(steps=5, lr=0.4), "alpha-crown-all": AlphaCrownAll(steps=2)}  # few steps, but far
METHODS |= {
    f"crown-{slope}-{source}": Crown(slope=slope, intermediate=source)
    for slope, source in (("same", "crown"), ("zero", "ibp"), ("one", "ibp"))
}
CHOSEN = {"alpha-crown", "alpha-crown-all"}  # methods that search for their lines
SETS = {
    "linf": lambda x, e: LpBall(x, e, "linf"),
    "linf clipped": lambda x, e: LpBall(x, e, "linf", clip=(0.0, 1.0)),
    "l2": lambda x, e: LpBall(x, 2 * e, "l2"),
    "l2 clipped": lambda x, e: LpBall(x, 2 * e, "l2", clip=(0.0, 1.0)),
    "box": lambda x, e: Box(x, e * torch.rand(x.shape, generator=torch.Generator().manual_seed(7)), clip=(0.0, 1.0)),
}


def _methods(name: str) -> list[str]:
    if name in zoo.SLOW:
        return [m for m in bounders if m != "alpha-crown-all"]
    return list(bounders) if name in zoo.ELEMENTWISE else list(METHODS)


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return zoo.Captured()


def _inputs(network: Network, count: int = 2) -> torch.Tensor:
    return torch.rand(count, *network.input_shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _attacked(network: Network, input_set, steps: int = 15) -> torch.Tensor:
    """Points of the set with small margins: gradient steps on each margin, projected."""
    generator = torch.Generator().manual_seed(11)
    module = network.module
    x = input_set.centre
    y = module(x).argmax(1)
    found = [input_set.sample(generator) for _ in range(20)] + [x]
    hull = input_set.hull()
    for row in range(network.classes - 1):
        point = input_set.sample(generator)
        for _ in range(steps):
            point = point.detach().requires_grad_()
            robust(y, network.classes, torch.float64).margins(module(point))[row].sum().backward()
            point = input_set.project(point.detach() - 0.3 * hull.width * point.grad.sign())
        found.append(point)
    return torch.stack([p.detach() for p in found])


# an activation sees intervals, whatever the set: two sets for those networks, all of them for the others
PAIRS = [(n, k) for n in zoo.NETWORKS for k in (("linf clipped", "l2") if n in zoo.ELEMENTWISE else SETS)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_bounds_hold_for_sampled_and_attacked_inputs(networks, name, kind):
    network = networks[name]
    x = _inputs(network)
    input_set = SETS[kind](x, 0.08)
    prepared = network.prepare()
    y = network.module(x).argmax(1)
    prop = robust(y, network.classes, torch.float64)
    with torch.no_grad():
        bounds = {m: method(prepared, input_set, prop.rows()) for m, method in METHODS.items() if m in _methods(name)}
    points = _attacked(network, input_set)
    with torch.no_grad():
        least = torch.stack([prop.margins(network.module(p)) for p in points]).amin(0)
    for method, bound in bounds.items():
        assert bool((bound <= least + 1e-9).all()), (method, float((bound - least).max()))


@pytest.mark.parametrize("intermediate", ["tightest", "crown"])
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_intermediate_bounds_hold_at_every_node(networks, name, intermediate):
    """An output bound can hide a wrong bound inside: the values of every node are held against its own interval."""
    network = networks[name]
    prepared = network.prepare()
    box = Box(_inputs(network), 0.3)
    generator = torch.Generator().manual_seed(3)
    corners = [torch.where(torch.rand(box.x.shape, generator=generator) < 0.5, box.lower, box.upper) for _ in range(40)]
    with torch.no_grad():
        found = Crown(intermediate=intermediate).known(prepared, box).found
        for x in (*corners, *(box.sample(generator) for _ in range(20))):
            values = {0: x}
            for step in prepared.steps:
                values[step.slot] = step.op.value(*[values[slot] for slot in step.args])
            for slot, interval in found.items():
                slack = 1e-9 * (1 + float(values[slot].abs().max()))
                assert bool(interval.contains(values[slot], slack=slack).all()), slot


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), [(name, method) for name in zoo.NETWORKS for method in _methods(name)])
def test_a_point_has_its_own_value(networks, name, method):
    network = networks[name]
    x = _inputs(network)
    got = output_interval(METHODS[method], network.prepare(), Box(x, 0.0))
    value = network.module(x)
    torch.testing.assert_close(got.lower, value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.upper, value, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [1e-12, 1e4])
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_tiny_and_huge_sets_are_sound_and_finite(networks, name, eps):
    network = networks[name]
    x = _inputs(network)
    for method in map(METHODS.__getitem__, _methods(name)):
        with torch.no_grad():
            got = output_interval(method, network.prepare(), Box(x, eps))
        assert bool(torch.isfinite(got.lower).all() & torch.isfinite(got.upper).all())
        for sign in (-1, 1):
            value = network.module(x + sign * eps)
            assert bool(got.contains(value, slack=1e-9 * (1 + float(value.abs().max()))).all())


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in zoo.NETWORKS for method in _methods(name)])
def test_gradients_reach_the_parameters_and_match_finite_differences(networks, name, method):
    network = networks[name]
    x = _inputs(network)
    prop = robust(torch.zeros(len(x), dtype=torch.long), network.classes, torch.float64)
    live = network.params()
    params = {k: v.detach().clone().requires_grad_() for k, v in live.items() if v.is_floating_point()}

    def total(values):
        return METHODS[method](prepare(network.plan, live | values), Box(x, 0.05), prop.rows()).sum()

    total(params).backward()
    generator = torch.Generator().manual_seed(2)
    direction = {k: torch.randn(v.shape, generator=generator, dtype=v.dtype) for k, v in params.items()}
    slope = sum((v.grad * direction[k]).sum() for k, v in params.items() if v.grad is not None)
    assert bool(torch.isfinite(slope))
    if method in CHOSEN or (name in zoo.CHOSEN and method != "ibp"):
        return  # tangent points and shares are chosen without gradient: the bound stays sound, its slope is a choice
    step = 1e-6
    with torch.no_grad():
        plus = total({k: v + step * direction[k] for k, v in params.items()})
        minus = total({k: v - step * direction[k] for k, v in params.items()})
    numeric = float((plus - minus) / (2 * step))
    assert float(slope) == pytest.approx(numeric, rel=2e-4, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_batching_changes_nothing(networks, name):
    network = networks[name]
    x = _inputs(network, 4 if name not in zoo.SLOW else 2)
    prepared = network.prepare()
    for method in map(METHODS.__getitem__, _methods(name)):
        with torch.no_grad():
            together = output_interval(method, prepared, Box(x, 0.05))
            alone = [output_interval(method, prepared, Box(x[i : i + 1], 0.05)) for i in range(len(x))]
        torch.testing.assert_close(together.lower, torch.cat([a.lower for a in alone]))


def test_chunks_change_nothing(networks):
    network = networks["conv"]
    x = _inputs(network)
    small, large = Crown(chunk_bytes=1), Crown()
    got = [output_interval(m, network.prepare(), Box(x, 0.05)).lower for m in (small, large)]
    torch.testing.assert_close(*got)


@pytest.mark.parametrize("name", sorted(set(zoo.NETWORKS) - {"sign"}))
def test_crown_is_at_least_as_tight_as_intervals(networks, name):
    """On the mean margin, at a small radius: for every operator. A step has no linear bound, so it is left to the next test."""
    network = networks[name]
    x = _inputs(network, 6)
    rows = robust(network.module(x).argmax(1), network.classes, torch.float64).rows()
    with torch.no_grad():
        ibp, crown = (METHODS[m](network.prepare(), Box(x, 0.01), rows).mean() for m in ("ibp", "crown"))
    assert crown >= ibp - 1e-9
    if name not in {"affine_only", "deep_conv", "max_pool_last"}:
        assert crown > ibp


@pytest.mark.slow
def test_crown_beats_intervals_behind_a_step(networks):
    """Where most steps are decided, and linear bounds keep what intervals lose before them."""
    torch.manual_seed(3)
    module = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Linear(8, 6), zoo.Fn(lambda _, x: torch.sign(x)), torch.nn.Linear(6, 3)
    )
    network = Network.capture(module.double(), (5,))
    x = _inputs(network, 50)
    rows = robust(network.module(x).argmax(1), network.classes, torch.float64).rows()
    with torch.no_grad():
        ibp, crown = (METHODS[m](network.prepare(), Box(x, 0.01), rows).mean() for m in ("ibp", "crown"))
    assert crown > ibp
