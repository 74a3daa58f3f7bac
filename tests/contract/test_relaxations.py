"""Contracts of every relaxation: sound lines on any interval, exact on points, quadratic width, finite gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsball.bounding.relaxation import relaxations
from epsball.interval import Interval

SLOPES = ("adaptive", "same", "zero", "one")
ends = st.floats(-50, 50, allow_nan=False)


def _points(l: torch.Tensor, u: torch.Tensor, count: int = 257) -> torch.Tensor:
    share = torch.linspace(0, 1, count, dtype=l.dtype)
    return torch.lerp(l[:, None], u[:, None], share).clamp(l[:, None], u[:, None])


def _gap(f, lines, x):
    """How far the function leaves its lines, at most; negative or rounding when sound."""

    def line(slope, bias):
        return slope[:, None] * x + (0 if bias is None else bias[:, None])

    y = f(x)
    return torch.maximum(line(lines.lower_slope, lines.lower_bias) - y, y - line(lines.upper_slope, lines.upper_bias))


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("name", relaxations)
def test_lines_hold_on_random_intervals(name, slope):
    f = relaxations[name]()
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(20_000, generator=generator, dtype=torch.float64) * 4
    width = 10 ** (torch.rand(20_000, generator=generator, dtype=torch.float64) * 9 - 7)
    pre = Interval(centre - width, centre + width)
    x = _points(*pre, count=65)
    assert float((_gap(f, f.lines(pre, slope), x) / (1 + width[:, None])).max()) < 1e-12


@settings(max_examples=200, deadline=None)
@given(a=ends, b=ends, slope=st.sampled_from(SLOPES), name=st.sampled_from(list(relaxations)))
def test_lines_hold_on_any_interval(a, b, slope, name):
    f = relaxations[name]()
    pre = Interval(*(torch.tensor([v], dtype=torch.float64) for v in sorted((a, b))))
    x = _points(*pre)
    assert float(_gap(f, f.lines(pre, slope), x).max()) <= 1e-10


@pytest.mark.parametrize("name", relaxations)
@pytest.mark.parametrize("width", [0.0, 1e-30, 1e-8, 1e4, 1e12])
def test_extreme_widths_are_sound_and_finite(name, width):
    f = relaxations[name]()
    centre = torch.linspace(-3, 3, 61, dtype=torch.float64)
    pre = Interval(centre - width, centre + width)
    lines = f.lines(pre)
    for part in lines:
        assert part is None or bool(torch.isfinite(part).all())
    slack = 1e-12 * (1 + width)
    assert float(_gap(f, lines, _points(*pre)).max()) <= slack
    if width == 0:
        lower = lines.lower_slope * centre + (0 if lines.lower_bias is None else lines.lower_bias)
        torch.testing.assert_close(lower, f(centre))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_gap_of_a_smooth_function_shrinks_quadratically(name):
    f = relaxations[name]()
    centre = torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64)
    widths = [2.0**-k for k in range(1, 8)]
    gaps = []
    for width in widths:
        pre = Interval(centre - width, centre + width)
        lines = f.lines(pre)
        x = _points(*pre)
        upper = lines.upper_slope[:, None] * x + lines.upper_bias[:, None]
        lower = lines.lower_slope[:, None] * x + lines.lower_bias[:, None]
        gaps.append((upper - lower).amax(1).log())
    slope = (gaps[0] - gaps[-1]) / (torch.tensor(widths[0] / widths[-1]).log())
    assert bool((slope > 1.9).all())


@pytest.mark.parametrize("name", relaxations)
@pytest.mark.parametrize("width", [0.0, 1e-12, 0.5, 1e6])
def test_gradients_are_finite(name, width):
    f = relaxations[name]()
    centre = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    lines = f.lines(Interval(centre - width, centre + width), "same")
    sum(part.sum() for part in lines if part is not None).backward()
    assert bool(torch.isfinite(centre.grad).all())
