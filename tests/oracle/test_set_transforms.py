"""Rotation, translation, brightness and contrast: the pictures themselves, and bounds against dense samples of the parameters."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from epsball.errors import BadConfig, BadData, BadShape
from epsball.forms.rows import Rows
from epsball.problem.sets import Geometric, Photometric, Transformed

F64 = torch.float64
CELLS = {
    "brightness": (Photometric(), {"brightness": 0.15}),
    "contrast": (Photometric(), {"contrast": 0.4}),
    "contrast and brightness": (Photometric(), {"contrast": 0.2, "brightness": 0.1}),
    "uncut": (Photometric(None), {"contrast": 0.3, "brightness": 0.2}),
    "small rotation": (Geometric(), {"angle": 0.5}),
    "large rotation": (Geometric(), {"angle": 25.0}),
    "translation": (Geometric(), {"right": 0.4, "down": 1.3}),
    "rotation and translation": (Geometric(pieces=27), {"angle": 2.0, "right": 0.3, "down": 0.2}),
}


def _pictures(count: int = 2, height: int = 7, width: int = 6, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _dense(cell: Transformed, count: int = 400) -> torch.Tensor:
    """Random parameters of each sample's cell, its corners and its middle among them."""
    generator = torch.Generator().manual_seed(1)
    share = torch.rand(count, *cell.lower.shape, generator=generator, dtype=F64)
    share[: count // 4] = share[: count // 4].round()
    share[0] = 0.5
    return torch.lerp(cell.lower, cell.upper, share)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", CELLS)
def test_bounds_hold_over_all_parameters(kind, dtype):
    transform, radii = CELLS[kind]
    x = _pictures(dtype=dtype)
    cell = Transformed.within(x, transform, **radii)
    hull = cell.hull()
    rows = torch.randn(6, *x.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    least = cell.minimise(Rows(rows))
    slack = 1e-5 if dtype == torch.float32 else 1e-12
    lowest, highest = hull.upper.clone(), hull.lower.clone()
    for p in _dense(cell):
        picture = transform.apply(x.double(), p).to(dtype)
        assert bool(hull.contains(picture).all())
        assert bool((least <= Rows(rows).dot(picture) + slack).all())
        lowest, highest = torch.minimum(lowest, picture), torch.maximum(highest, picture)
    found = float((highest - lowest).sum() / hull.width.sum())
    assert found > {"large rotation": 0.8, "rotation and translation": 0.6}.get(kind, 0.85)  # the hull is not much wider


@pytest.mark.parametrize("kind", CELLS)
def test_lines_hold_over_all_parameters(kind):
    transform, radii = CELLS[kind]
    x = _pictures()
    cell = Transformed.within(x, transform, **radii)
    _, lines = transform.bounds(x, cell.lower, cell.upper)
    for p in _dense(cell, 100):
        along = (lines.slope * p[:, :, None, None, None]).sum(1)
        picture = transform.apply(x, p)
        assert bool((along + lines.low <= picture).all())
        assert bool((picture <= along + lines.high).all())


def test_uncut_brightness_and_contrast_are_minimised_exactly():
    """The picture is linear in both parameters: a form is least at a corner."""
    x = _pictures()
    cell = Transformed.within(x, Photometric(None), contrast=0.3, brightness=0.2)
    rows = Rows(torch.randn(9, *x.shape, generator=torch.Generator().manual_seed(2), dtype=F64))
    corners = [rows.dot(x * (1 + c) + b) for c in (-0.3, 0.3) for b in (-0.2, 0.2)]
    torch.testing.assert_close(cell.minimise(rows), torch.stack(corners).amin(0), atol=1e-6, rtol=0)


def test_the_hull_of_brightness_and_contrast_is_exact():
    x = _pictures()
    cell = Transformed.within(x, Photometric(), contrast=0.3, brightness=0.2)
    corners = torch.stack([(x * (1 + c) + b).clamp(0, 1) for c in (-0.3, 0.3) for b in (-0.2, 0.2)])
    torch.testing.assert_close(cell.hull().lower, corners.amin(0))
    torch.testing.assert_close(cell.hull().upper, corners.amax(0))


@pytest.mark.parametrize(("turns", "angle"), [(1, 90.0), (2, 180.0), (3, -90.0)])
def test_quarter_turns_are_exact(turns, angle):
    x = _pictures(height=6)
    p = torch.tensor([[angle, 0.0, 0.0]], dtype=F64).expand(2, 3)
    torch.testing.assert_close(Geometric().apply(x, p), torch.rot90(x, turns, (2, 3)), atol=1e-12, rtol=0)


def test_whole_shifts_move_pixels():
    x = _pictures()
    p = torch.tensor([[0.0, 2.0, -1.0]], dtype=F64).expand(2, 3)
    want = torch.zeros_like(x)
    want[:, :, :-1, 2:] = x[:, :, 1:, :-2]
    torch.testing.assert_close(Geometric().apply(x, p), want, atol=1e-12, rtol=0)


def test_pictures_agree_with_grid_sample():
    x = _pictures(height=6)
    angle, right, down = 17.0, 0.3, -0.7
    turn = math.radians(angle)
    shift = torch.tensor([2 * right / 5, 2 * down / 5], dtype=F64)  # a picture of 6 x 6 reaches from -1 to 1
    matrix = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], dtype=F64)
    theta = torch.cat((matrix, -(matrix @ shift)[:, None]), 1).expand(2, 2, 3)
    want = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=True), align_corners=True, padding_mode="zeros")
    got = Geometric().apply(x, torch.tensor([[angle, right, down]], dtype=F64).expand(2, 3))
    torch.testing.assert_close(got, want, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["contrast and brightness", "translation", "large rotation"])
def test_cells_and_halves_cover_the_parameters(kind):
    transform, radii = CELLS[kind]
    whole = Transformed.within(_pictures(), transform, **radii)
    cells, owner = whole.cells(3)
    free = sum(r > 0 for r in radii.values())
    assert len(cells.x) == len(owner) == 2 * 3**free
    halves = whole.split(1)
    for p in _dense(whole, 50):
        for sample in range(2):
            mine = owner == sample
            inside = ((cells.lower[mine] <= p[sample]) & (p[sample] <= cells.upper[mine])).all(1)
            assert bool(inside.any())
            assert any(bool(((h.lower[sample] <= p[sample]) & (p[sample] <= h.upper[sample])).all()) for h in halves)
    rows = torch.randn(4, 2, *whole.x.shape[1:], generator=torch.Generator().manual_seed(2), dtype=F64)
    apart = cells.minimise(Rows(rows[:, owner]))
    together = torch.stack([apart[:, owner == sample].amin(1) for sample in range(2)], 1)
    assert bool((together >= whole.minimise(Rows(rows)) - 1e-9).all())  # smaller cells are never looser here
    assert torch.equal(whole.centre, whole.x)


def test_a_cell_without_the_nominal_picture_starts_at_its_nearest():
    x = _pictures(1)
    cell = Transformed(x, Geometric(), torch.tensor([3.0, 0.0, 0.0]), torch.tensor([5.0, 0.0, 0.0]))
    want = Geometric().apply(x, torch.tensor([[3.0, 0.0, 0.0]], dtype=F64))
    torch.testing.assert_close(cell.centre, want, atol=1e-12, rtol=0)


X = _pictures()


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: Transformed.within(X, Geometric(), tilt=3.0), BadConfig, "angle, right, down"),
        (lambda: Transformed.within(X, Geometric(), angle=-3.0), BadConfig, "at least 0"),
        (lambda: Transformed.within(X.flatten(1), Geometric(), angle=3.0), BadShape, "pictures"),
        (lambda: Transformed(X, Photometric(), torch.ones(2), torch.zeros(2)), BadData, "inverted"),
        (lambda: Transformed(X, Photometric(), torch.zeros(2) / 0, torch.zeros(2)), BadData, "NaN"),
        (lambda: Transformed(X, Photometric(), torch.zeros(3), torch.zeros(3)), BadShape, "contrast, brightness"),
        (lambda: Transformed.within(X, Geometric(), angle=3.0).cells(0), BadConfig, "1 or more"),
    ],
)
def test_bad_parameters_say_what_is_wrong(make, kind, says):
    with pytest.raises(kind, match=says):
        make()
