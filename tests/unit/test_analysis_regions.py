"""Regions around an input: votes against a direct count, half-planes and the exact distance of a linear classifier, steepness."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from epsball.analysis.plane import Plane
from epsball.analysis.regions import REACH, Regions, falling
from epsball.data.base import Dataset
from epsball.device import generator
from epsball.errors import BadConfig, BadData
from epsball.examples import Examples
from epsball.ops.network import Network
from epsball.proportion import lower_bound
from epsball.record.journal import read
from epsball.record.read import typed
from epsball.run.case import Case
from epsball.smoothing.core import Smoothed
from epsball.smoothing.sampling.sampler import Stream

SIGMA = 0.3


def _case(module: nn.Module, x: torch.Tensor, label: int = 0, classes: int = 2) -> Case:
    examples = Examples(x[None], torch.tensor([label]))
    data = Dataset("made-up", examples, examples, classes, "", (0.0,), (1.0,), (0.0, 1.0), "0")
    return Case(Path("runs/made-up"), Network.capture(module, tuple(x.shape)), data, torch.tensor([0]), 0.0, "l2", 5)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _mlp(classes: int = 5) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, classes))
    with torch.no_grad():
        module[2].weight.mul_(12)
    return module, torch.rand(6)


def test_of_two_half_spaces_the_circle_touches_the_line_between_them():
    """A linear classifier at distance sigma: p_A = Phi(1), and the certified radius comes to the distance from below."""
    w, x = torch.tensor([0.6, -0.3, 0.9, 0.1, 0.0, -0.7]), torch.full((6,), 0.5)
    distance = SIGMA
    bias = -float(w @ x) - distance * float(w.norm())
    module = _linear(torch.stack((torch.zeros(6), w)), torch.tensor([0.0, bias]))
    line = Regions(_case(module, x), SIGMA, n=40_000, resolution=40).line()
    assert (line.smoothed, line.towards) == (0, [1, None])
    assert 0.95 * distance < line.radius <= distance
    half = REACH * SIGMA
    s = -half + (np.arange(40) + 0.5) / 40 * 2 * half
    assert line.classes == np.tile((s > distance).astype(int), (40, 1)).ravel().tolist()  # a half-plane, in the first axis alone
    assert line.votes[0] / 40_000 == pytest.approx(0.5 * (1 + math.erf(math.sqrt(0.5))), abs=0.005)


def test_the_axes_lead_to_the_rivals_and_cells_are_the_networks_own():
    """Three linear scores: the right of the picture goes to the first rival, its top to the second."""
    weight = torch.tensor([[0.0] * 6, [4.0, 0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0, 0]])
    module, x = _linear(weight, torch.tensor([0.0, -3.2, -3.6])), torch.full((6,), 0.5)
    case = _case(module, x, classes=3)
    smoothed = Smoothed(module, SIGMA, 3, seed=5)
    line = Regions(case, SIGMA, n=512, resolution=16).line()
    assert line.towards == [1, 2]
    (found,) = smoothed.certify(x[None], images=[0])
    plane, rivals = falling(smoothed, x[None], 0, found, image=0)
    assert rivals == [1, 2]
    grid = np.array(line.classes).reshape(16, 16)
    left, right, bottom, top = line.window
    for row in range(16):
        for column in range(16):
            s, t = left + (column + 0.5) / 16 * (right - left), bottom + (row + 0.5) / 16 * (top - bottom)
            y = torch.from_numpy(plane.origin + s * plane.u + t * plane.v).float()
            assert grid[row, column] == int(module(y[None]).argmax())
    assert grid[8, 15] == 1
    assert grid[15, 8] == 2
    assert grid[8, 8] == grid[0, 0] == 0


@pytest.mark.slow
def test_votes_match_a_direct_count_and_limits_are_those_of_clopper_and_pearson():
    module, x = _mlp()
    line = Regions(_case(module, x, classes=5), SIGMA, n=300, alpha=0.01, resolution=8).line()
    counts = torch.zeros(5, dtype=torch.long)
    for block, size in enumerate((128, 128, 44)):
        noise = torch.empty(size, 6).normal_(generator=generator(torch.device("cpu"), 5, 0, int(Stream.ESTIMATION), block))
        counts += torch.bincount(module(x + SIGMA * noise).argmax(1), minlength=5)
    assert line.votes == counts.tolist()
    assert sum(line.votes) == 300
    top = line.top
    assert line.p_a == line.low[top] == lower_bound(int(counts[top]), 300, 0.01)
    assert all(low <= count / 300 <= high for low, count, high in zip(line.low, line.votes, line.high, strict=True))
    assert typed([line.written()], Path("record")) == [line]  # what a report accepts
    assert line == Regions(_case(module, x, classes=5), SIGMA, n=300, alpha=0.01, resolution=8).line()


def test_no_other_direction_falls_faster():
    """The margin of the soft expectation, by finite differences: along the first axis at least as steep as along any other."""
    module, x = _mlp()
    module, x = module.double(), x.double()
    smoothed = Smoothed(module, SIGMA, 5, seed=5, clip=None)
    (found,) = smoothed.certify(x[None], images=[0])
    top = int(np.argmax(found.counts[:-1]))
    plane, (rival, _) = falling(smoothed, x[None], top, found, image=0)

    def slope(direction: torch.Tensor) -> float:
        ends = [torch.zeros(()), torch.zeros(())]
        with torch.no_grad():
            for draw in range(16):
                for sign in (0, 1):
                    p = smoothed.probabilities((x + (2 * sign - 1) * 1e-4 * direction)[None], 64, images=[0], draw=draw)[0]
                    ends[sign] = ends[sign] + (p[rival] - p[top]) / 16
        return float((ends[1] - ends[0]) / 2e-4)

    steepest = slope(torch.from_numpy(plane.u))
    ways = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    others = [slope(way / way.norm()) for way in ways]
    assert steepest > max(map(abs, others))
    along = torch.from_numpy(plane.u)
    for way, found_slope in zip(ways, others, strict=True):
        assert found_slope == pytest.approx(steepest * float(way @ along / way.norm()), abs=0.01 * steepest)


def test_without_any_slope_the_directions_are_drawn():
    """A constant classifier has no gradient: two orthonormal directions by chance, the same ones for the same seed."""
    module, x = _linear(torch.zeros(3, 6), torch.tensor([1.0, 0.0, 0.0])), torch.full((6,), 0.5)
    line = Regions(_case(module, x, classes=3), SIGMA, n=128, resolution=8).line()
    assert line.towards == [None, None]
    assert set(line.classes) == {0}
    assert line.votes == [128, 0, 0]


def test_a_plane_along_two_directions_is_orthonormal():
    first, second = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    plane = Plane.along(torch.rand(2, 2), first, second)
    assert np.allclose(plane.u, [0.6, 0, 0, 0.8])
    assert plane.u @ plane.v == pytest.approx(0, abs=1e-12)
    assert plane.v @ plane.v == pytest.approx(1)
    assert plane.v @ second.numpy().ravel() > 0
    with pytest.raises(BadData, match="one line"):
        Plane.along(torch.rand(2, 2), first, -2 * first)


def test_it_is_written_once_and_refuses_what_cannot_be_drawn(tmp_path):
    module, x = _mlp()
    case = _case(module, x, classes=5)
    line = Regions(case, SIGMA, n=128, resolution=8).write(tmp_path / "r")
    header, written, done = read(tmp_path / "r" / "record.jsonl")
    assert (header["verb"], header["config"]["samples"], done["type"]) == ("analyse", 128, "done")
    assert written == line.written()
    with pytest.raises(BadConfig, match="already"):
        Regions(case, SIGMA, n=128, resolution=8).write(tmp_path / "r")
    with pytest.raises(BadConfig, match="2 inputs"):
        Regions(Case(case.model, case.network, case.data, torch.tensor([0, 0]), 0.0, "l2", 0), SIGMA)
    for wrong in ({"sigma": -1.0}, {"n": 0}, {"alpha": 0.0}, {"resolution": 4}):
        with pytest.raises(BadConfig):
            Regions(case, **({"sigma": SIGMA} | wrong)).write(tmp_path / "no")
    assert not (tmp_path / "no").exists()
