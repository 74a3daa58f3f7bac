"""Contracts of every relaxation: sound lines on any interval, exact on points, quadratic width, finite gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epsball.forms.interval import Interval
from epsball.forms.rows import Rows, cache_blocks
from epsball.ops.activations.curved import Curved
from epsball.ops.activations.exponential import Elu, Softplus
from epsball.ops.activations.hard import Clamp
from epsball.ops.activations.powers import Power
from epsball.ops.elementwise import Elementwise, relaxations
from epsball.ops.lines import Lines

SLOPES = ("adaptive", "same", "zero", "one")
ends = st.floats(-50, 50, allow_nan=False)
ALL: dict[str, Elementwise] = {name: kind() for name, kind in relaxations.items()} | {
    "pow 4": Power(4.0),
    "pow 1.5": Power(1.5),
    "pow 0.3": Power(0.3),
    "pow -1": Power(-1.0),
    "pow -2": Power(-2.0),
    "pow -0.7": Power(-0.7),
    "clamp below": Clamp(-0.3, math.inf),
    "clamp above": Clamp(-math.inf, 2.0),
    "relu6": Clamp(0.0, 6.0),
    "elu 1.7": Elu(1.7, 1.2, 1.0),
    "celu": Elu(0.5, 1.0, 2.0),
    "softplus 3": Softplus(3.0, 5.0),
}
KINKED = {
    "relu",
    "leaky_relu",
    "abs",
    "sign",
    "clamp",
    "clamp below",
    "clamp above",
    "relu6",
    "hardswish",
    "elu",
    "elu 1.7",
    "celu",
}
# Away from the kinks and inside every domain.
SMOOTH_AT = {"sigmoid": (0.7, -1.3, 2.0), "tanh": (0.7, -1.3, 2.0), "hardswish": (0.4, -1.1, 1.7)}


def _points(l: torch.Tensor, u: torch.Tensor, count: int = 257) -> torch.Tensor:
    share = torch.linspace(0, 1, count, dtype=l.dtype)
    return torch.lerp(l[:, None], u[:, None], share).clamp(l[:, None], u[:, None])


def _line(slope, bias, x):
    return slope[:, None] * x + (0 if bias is None else bias[:, None])


def _gap(f, lines, x):
    """How far the function leaves its lines, at most, in units of the rounding of the numbers involved."""
    y = f(x)
    below, above = _line(lines.lower_slope, lines.lower_bias, x), _line(lines.upper_slope, lines.upper_bias, x)
    size = 1 + y.abs() + (lines.lower_slope[:, None] * x).abs() + (lines.upper_slope[:, None] * x).abs()
    return torch.maximum(below - y, y - above) / size.amax(1, keepdim=True)


def _inside(f: Elementwise, pre: Interval) -> Interval:
    """The boxes on which f is defined; on the others every bound must be infinite."""
    known = f.defined(pre) if isinstance(f, Curved) else None
    if known is None:
        return pre
    found = f.interval(pre)
    for lower, upper in ((found.lower, found.upper), f.lines(pre)[1::2]):
        assert bool((lower[~known] == -math.inf).all() & (upper[~known] == math.inf).all())
    return Interval(pre.lower[known], pre.upper[known])


@pytest.mark.parametrize("name", ALL)
def test_lines_hold_on_random_intervals(name):
    f = ALL[name]
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(10_000, generator=generator, dtype=torch.float64) * 4
    width = 10 ** (torch.rand(10_000, generator=generator, dtype=torch.float64) * 9 - 7)
    pre = _inside(f, Interval(centre - width, centre + width))
    assert len(pre.lower) > 1000
    x = _points(*pre, count=65)
    box = f.interval(pre)
    size = 1e-12 * (1 + box.upper.abs() + box.lower.abs())
    assert bool(((f(x) >= (box.lower - size)[:, None]) & (f(x) <= (box.upper + size)[:, None])).all())
    for slope in SLOPES if name in {"relu", "leaky_relu"} else ("adaptive",):
        assert float(_gap(f, f.lines(pre, slope), x).max()) < 1e-12


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(a=ends, b=ends, slope=st.sampled_from(SLOPES), name=st.sampled_from(list(ALL)))
def test_lines_hold_on_any_interval(a, b, slope, name):
    f = ALL[name]
    pre = _inside(f, Interval(*(torch.tensor([v], dtype=torch.float64) for v in sorted((a, b)))))
    x = _points(*pre)
    assert not x.numel() or float(_gap(f, f.lines(pre, slope), x).max()) <= 1e-11


@pytest.mark.parametrize("name", ALL)
def test_lines_hold_in_single_precision(name):
    f = ALL[name]
    generator = torch.Generator().manual_seed(1)
    centre = torch.randn(3000, generator=generator) * 3
    width = 10 ** (torch.rand(3000, generator=generator) * 6 - 5)
    pre = _inside(f, Interval(centre - width, centre + width))
    assert float(_gap(f, f.lines(pre), _points(*pre, count=65)).max()) < 3e-6


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [0.0, 1e-30, 1e-8, 1e4, 1e12])
def test_extreme_widths_are_sound_and_finite(name, width):
    f = ALL[name]
    centre = torch.linspace(-3, 3, 61, dtype=torch.float64)
    pre = _inside(f, Interval(centre - width, centre + width))
    if not len(pre.lower):
        return
    lines = f.lines(pre)
    for part in lines:
        assert part is None or bool(torch.isfinite(part).all())
    assert float(_gap(f, lines, _points(*pre)).max()) <= 1e-12
    if width == 0:
        lower = _line(lines.lower_slope, lines.lower_bias, pre.lower[:, None])[:, 0]
        torch.testing.assert_close(lower, f(pre.lower))


def _between(lines: Lines, x: torch.Tensor) -> torch.Tensor:
    return (_line(lines.upper_slope, lines.upper_bias, x) - _line(lines.lower_slope, lines.lower_bias, x)).amax(1)


@pytest.mark.parametrize("name", sorted((set(ALL) - KINKED) | {"hardswish"}))
def test_the_gap_of_a_smooth_function_shrinks_quadratically(name):
    f = ALL[name]
    # inside every domain, and on the inflections, where a search of slopes could go wrong
    centre = torch.tensor(SMOOTH_AT.get(name, (0.7, 1.3, 2.0, math.sqrt(2), 2.39935728, math.pi)), dtype=torch.float64)
    widths = [0.3 * 2.0**-k for k in range(1, 8)]
    gaps = []
    for width in widths:
        pre = Interval(centre - width, centre + width)
        gaps.append(_between(f.lines(pre), _points(*pre)).log())
    slope = (gaps[0] - gaps[-1]) / (torch.tensor(widths[0] / widths[-1]).log())
    straight = gaps[-1] < math.log(1e-13)  # softplus right of its threshold
    assert bool(((slope > 1.9) | straight).all())


@pytest.mark.parametrize("name", sorted(name for name, f in ALL.items() if isinstance(f, Curved)))
def test_no_line_is_much_better_in_the_middle(name):
    """Against a brute-force envelope: the least value in the middle of any line above a fine sample of the function."""
    f = ALL[name]
    generator = torch.Generator().manual_seed(3)
    centre = torch.randn(120, generator=generator, dtype=torch.float64) * 2
    width = torch.rand(120, generator=generator, dtype=torch.float64) * 4 + 0.05
    pre = _inside(f, Interval(centre - width, centre + width))
    x = _points(*pre)
    y = f(x)
    lines = f.lines(pre)
    m = (pre.lower + pre.upper) / 2
    size = y.amax(1) - y.amin(1) + 1e-9
    for sign, slope, bias in ((1, lines.upper_slope, lines.upper_bias), (-1, -lines.lower_slope, -lines.lower_bias)):
        left, right = x[:, :128, None], x[:, None, 129:]
        chord = (sign * y[:, :128, None] * (right - m[:, None, None]) + sign * y[:, None, 129:] * (m[:, None, None] - left)) / (
            right - left
        )
        best = torch.maximum(chord.flatten(1).amax(1), sign * y[:, 128])
        assert float(((slope * m + bias - best) / size).max()) < 0.02


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [0.0, 1e-12, 0.5, 1e6])
def test_gradients_are_finite(name, width):
    f = ALL[name]
    middle = torch.linspace(-2, 2, 41, dtype=torch.float64)
    pre = _inside(f, Interval(middle - width, middle + width))
    centre = ((pre.lower + pre.upper) / 2).requires_grad_()
    lines = f.lines(Interval(centre - width, centre + width), "same")
    total = sum(part.sum() for part in lines if part is not None) + centre.sum()
    total.backward()
    assert bool(torch.isfinite(centre.grad).all())


@pytest.mark.parametrize("name", ALL)
def test_rows_pulled_in_parts_are_those_pulled_at_once(name, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    lower = 0.2 + torch.rand(2, 3, 4, generator=generator, dtype=torch.float64)
    lines = ALL[name].relax(Interval(lower, lower + 1))
    rows = Rows(torch.randn(2, 7, 3, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 0, 1, 0]))
    with torch.no_grad():
        ((whole,), bias) = lines.pull(rows)
        monkeypatch.setattr("epsball.forms.rows._CACHE", 2 * 2 * 3 * 4 * 8)  # two rows a part
        assert len(cache_blocks(rows.values)) == 4
        ((parts,), sums) = lines.pull(rows)
    assert torch.equal(whole.values, parts.values)
    torch.testing.assert_close(sums, bias, rtol=0, atol=1e-15)
