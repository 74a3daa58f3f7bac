"""The plane through three inputs: coordinates, traces of balls against brute force, and classes against the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from epsball.analysis.plane import Plane, classes, half_planes
from epsball.errors import BadConfig, BadData
from epsball.ops.network import Network


def _plane(seed: int = 0, size: int = 12) -> tuple[Plane, torch.Tensor]:
    x = torch.rand(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Plane.through(x), x


def test_the_three_inputs_lie_where_the_plane_says():
    plane, x = _plane()
    for point, wanted in zip(plane.points, x, strict=True):
        assert np.allclose(plane.origin + point[0] * plane.u + point[1] * plane.v, wanted.numpy())
    assert plane.u @ plane.v == pytest.approx(0, abs=1e-12)
    left, right, bottom, top = plane.window()
    assert right - left == pytest.approx(top - bottom)
    assert ((plane.points > (left, bottom)) & (plane.points < (right, top))).all()


def test_three_inputs_on_a_line_are_refused():
    x = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    with pytest.raises(BadData, match="one line"):
        Plane.through(x)
    with pytest.raises(BadData, match="one line"):
        Plane.through(torch.stack((x[1], x[1], x[2])))


def _inside(corners: np.ndarray, point: np.ndarray) -> bool:
    after = np.roll(corners, -1, axis=0)
    turn = (after - corners)[:, 0] * (point - corners)[:, 1] - (after - corners)[:, 1] * (point - corners)[:, 0]
    return bool((turn >= 0).all())


@pytest.mark.parametrize(("eps", "clip"), [(0.1, None), (0.2, (0.0, 1.0)), (np.inf, (0.0, 1.0))])
def test_a_trace_holds_exactly_the_points_of_the_ball(eps, clip):
    plane, x = _plane(3)
    for number, point in enumerate(plane.points):
        corners = np.array(plane.trace(point, eps, clip))
        assert len(corners) >= 3
        draw = np.random.default_rng(number)
        low, high = corners.min(0) - 0.05, corners.max(0) + 0.05
        for place in draw.uniform(low, high, (400, 2)):
            y = plane.origin + place[0] * plane.u + place[1] * plane.v
            inside = np.abs(y - x[number].numpy()).max() <= eps and (clip is None or (y.min() >= clip[0] and y.max() <= clip[1]))
            assert inside == _inside(corners, place)


def test_a_ball_at_the_corner_of_the_range_shows_only_what_is_valid():
    """At 0 every coordinate can only grow: of the square the quarter with s, t >= 0 is left."""
    plane = Plane.through(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    corners = np.array(plane.trace(plane.points[0], 0.25, (0.0, 1.0)))
    assert {tuple(np.round(c, 9) + 0.0) for c in corners} == {(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)}


def test_half_planes_of_a_regular_polygon():
    angles = np.arange(7) * 2 * np.pi / 7
    corners = half_planes(np.stack((np.cos(angles), np.sin(angles)), 1), np.ones(7), 100.0)
    assert np.allclose(np.linalg.norm(corners, axis=1), 1 / np.cos(np.pi / 7))
    assert len(corners) == 7


def test_classes_are_the_networks_own():
    torch.manual_seed(0)
    first = nn.Linear(12, 16).double()
    with torch.no_grad():
        first.bias.sub_(first.weight.sum(1) / 2)  # so that the middle of the cube decides nothing
    module = nn.Sequential(first, nn.ReLU(), nn.Linear(16, 4, bias=False).double())
    network = Network.capture(module, (12,)).prepare()
    plane, _ = _plane(1)
    found = np.array(classes(network, plane, 40)).reshape(40, 40)
    left, right, bottom, top = plane.window()
    for row, column in [(0, 0), (39, 0), (0, 39), (17, 23)]:
        s, t = left + (column + 0.5) / 40 * (right - left), bottom + (row + 0.5) / 40 * (top - bottom)
        y = torch.from_numpy(plane.origin + s * plane.u + t * plane.v)
        assert found[row, column] == int(module(y[None]).argmax())
    assert len(np.unique(found)) > 1
    with pytest.raises(BadConfig, match="resolution"):
        classes(network, plane, 4)
