"""exact >= multi-neuron >= LP >= the dual at any feasible point, at equal intermediate bounds; cuts hold on the graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from epsball.bounding.linear.alpha import AlphaCrown
from epsball.bounding.linear.crown import Crown
from epsball.bounding.linear.dual import dual_bound
from epsball.forms.rows import Rows
from epsball.ops.network import Network
from epsball.problem.sets import Box
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.octahedron import directions, vertices
from epsball.verification.programs.triangle import TriangleLp
from references import exact, preactivations, random_mlp, triangle_lp

CUT = {"units": 4, "rounds": 8, "gain": 0.0}


@pytest.mark.parametrize("seed", range(4))
def test_exact_multi_neuron_lp_dual(seed):
    module, weights = random_mlp(seed, (3, 4, 4, 2))
    prepared = Network.capture(module, (3,)).prepare()
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, generator=generator, dtype=torch.float64)
    box, c = Box(x, 0.6), np.array([1.0, -1.0])
    rows = Rows(torch.tensor(c)[None, None])
    least = exact(weights, x[0].numpy(), 0.6, c)
    for source in (Crown(intermediate="ibp"), Crown()):
        lp, cut = (float(m(prepared, box, rows)) for m in (TriangleLp(source), MultiNeuron(source, **CUT)))
        assert lp == pytest.approx(triangle_lp(weights, x[0].numpy(), 0.6, c, preactivations(prepared, source, box)), abs=1e-6)
        known = source.known(prepared, box)
        for _ in range(5):
            point = {
                s.slot: torch.rand(known.found[s.args[0]].lower.shape, generator=generator, dtype=x.dtype)
                for s in prepared.nonlinear
            }
            assert float(dual_bound(known, rows, point)) <= lp + 1e-8
        assert float(AlphaCrown(intermediate=source.intermediate, steps=50)(prepared, box, rows)) <= lp + 1e-8
        assert lp <= cut + 1e-9 <= least + 1e-7
    tight = float(TriangleLp(neurons="lp")(prepared, box, rows))
    assert lp <= tight + 1e-8 <= least + 1e-7
    assert tight <= float(MultiNeuron(neurons="lp", **CUT)(prepared, box, rows)) + 1e-8


def test_groups_close_a_gap_that_no_single_neuron_relaxation_can():
    """Over these nets the cuts lift the LP strictly, and by a good part of its gap to the exact value."""
    lifts = []
    for seed in range(5):
        module, weights = random_mlp(seed + 20, (2, 6, 2))
        prepared = Network.capture(module, (2,)).prepare()
        x = torch.full((1, 2), 0.3, dtype=torch.float64)
        box, c = Box(x, 1.5), np.array([1.0, -1.0])
        rows = Rows(torch.tensor(c)[None, None])
        lp, cut = (float(m(prepared, box, rows)) for m in (TriangleLp(neurons="lp"), MultiNeuron(neurons="lp", **CUT)))
        least = exact(weights, x[0].numpy(), 1.5, c)
        if least - lp > 1e-6:
            lifts.append((cut - lp) / (least - lp))
    assert len(lifts) >= 3
    assert min(lifts) > 0.01
    assert np.mean(lifts) > 0.3


def test_exact_for_three_neurons_whose_inputs_fill_an_octahedron():
    """Inputs x1 + x2, x1 - x2 and x3 of a box fill their octahedron: the hull of the group is the network's own."""
    c, x = np.array([1.0, 1.0, 1.0]), np.zeros(3)
    weights = [(np.array([[1.0, 1, 0], [1, -1, 0], [0, 0, 1]]), np.zeros(3)), (-c[None], np.zeros(1))]
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double()
    with torch.no_grad():
        for layer, (w, b) in zip((module[0], module[2]), weights, strict=True):
            layer.weight.copy_(torch.tensor(w))
            layer.bias.copy_(torch.tensor(b))
    prepared = Network.capture(module, (3,)).prepare()
    box, rows = Box(torch.tensor(x)[None], 1.0), Rows(torch.ones(1, 1, 1, dtype=torch.float64))
    least = exact(weights, x, 1.0, np.ones(1))
    lp, cut = (float(m(prepared, box, rows)) for m in (TriangleLp(), MultiNeuron(units=3, rounds=20, gain=0.0)))
    assert lp < least - 0.1
    assert cut == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_vertices_are_those_of_the_pieces(seed):
    """Against random points of the octahedron: all lie in the hull; and against scipy: every vertex of every orthant is there."""
    from scipy.optimize import linprog
    from scipy.spatial import HalfspaceIntersection

    generator = np.random.default_rng(seed)
    cloud = generator.normal(size=(6, 3)) @ generator.normal(size=(3, 3)) + generator.normal(size=3) * 0.3
    values = cloud @ directions().T
    low, high = values.min(0), values.max(0)
    found = vertices(low, high)
    assert ((found @ directions().T <= high + 1e-7) & (found @ directions().T >= low - 1e-7)).all()
    for signs in itertools.product((1.0, -1.0), repeat=3):
        normals = np.concatenate((directions(), -directions(), -np.diag(signs)))
        ends = np.concatenate((high, -low, np.zeros(3)))
        norms = np.linalg.norm(normals, axis=1)
        inner = linprog([0, 0, 0, -1], np.c_[normals, norms], ends, bounds=[(None, None)] * 3 + [(0, None)])
        if inner.status != 0 or inner.x[3] < 1e-3:
            continue
        for corner in HalfspaceIntersection(np.c_[normals, -ends], inner.x[:3]).intersections:
            assert np.abs(found - corner).max(1).min() < 1e-6


def test_every_cut_holds_on_the_networks_own_values():
    """Sampled inputs, with their true z and y in the variables' places, satisfy every row of the cut program."""
    module, _ = random_mlp(7, (3, 6, 6, 2))
    prepared = Network.capture(module, (3,)).prepare()
    box = Box(torch.full((1, 3), 0.4, dtype=torch.float64), 0.8)
    method = MultiNeuron(**CUT)
    relaxation = method.open(prepared, box)
    forms = relaxation.output(Rows(torch.tensor([[[1.0, -1.0]], [[-1.0, 1.0]]], dtype=torch.float64)))
    before = len(relaxation.encoding.program.low)
    for row in (0, 1):
        method.least(relaxation, forms, row)
    program = relaxation.session.program
    assert len(program.low) > before + 3
    share = torch.rand(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.lerp(box.lower, box.upper, share)
    x = torch.cat((x, torch.where(share > 0.5, box.lower, box.upper)))
    h, columns = x, [x]
    for layer, units in zip((module[0], module[2]), relaxation.encoding.units.values(), strict=True):
        z = layer(h)
        h = z.relu()
        columns += [z[:, units.index], h[:, units.index]]
    v = torch.cat(columns, 1).detach().numpy().T
    activity = program.matrix @ v
    assert (activity <= program.high[:, None] + 1e-9).all()
    assert (activity >= program.low[:, None] - 1e-9).all()
    assert ((v >= program.lower[:, None] - 1e-9) & (v <= program.upper[:, None] + 1e-9)).all()
