"""What the SDP's bounds give away to their own sums, in rationals; and when it stops for want of time."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from epsball.bounding.linear.crown import Crown
from epsball.ops.network import Network
from epsball.problem.property import Property
from epsball.problem.sets import Box
from epsball.verification.semidefinite import pace as sdp_pace
from epsball.verification.semidefinite.dual import Dual
from epsball.verification.semidefinite.lift import lift
from epsball.verification.semidefinite.pace import Stopwatch
from references import random_mlp

UNIT = Fraction(1, 2**53)


def dual(seed: int) -> Dual:
    module, _ = random_mlp(seed, (3, 6, 6, 2))
    network = Network.capture(module, (3,)).prepare()
    box = Box(torch.rand(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), 0.4)
    found = Crown().known(network, box).found
    return Dual(lift(network, box, found, Property(torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)).rows()), 0)


def fractions(values: torch.Tensor) -> list[Fraction]:
    return [Fraction(v) for v in values.tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_crowns_walk_gives_away_more_than_its_sums_can_lose(seed: int) -> None:
    """The same multipliers in rationals: below the exact value by at least one rounding for each term, and the network's own."""
    one = dual(seed)
    p, (found, x) = one.lifted, one.crown()
    of = one.parts(x)
    c, lines, chords = fractions(p.c[0]), fractions(of.line), fractions(of.chord)
    rows = [fractions(row) for row in p.A]
    pulled = [c[j] + sum((ln - ch) * row[j] for ln, ch, row in zip(lines, chords, rows, strict=True)) for j in range(p.inputs)]
    offset = sum(ln * b - ch * top for ln, b, ch, top in zip(lines, fractions(p.b), chords, fractions(one.top), strict=True))
    exact = Fraction(float(p.c0[0])) + offset - sum(map(abs, pulled))
    moved = [(ln + ch) * sum(map(abs, row)) for ln, ch, row in zip(lines, chords, rows, strict=True)]
    terms = sum(map(abs, c)) + sum(moved) + sum(abs(v) for v in fractions(p.b))
    assert Fraction(found) <= exact - Fraction(one.lost(x)) * (1 - Fraction(1, 10**6)) - len(c) * UNIT * sum(moved)
    assert exact - Fraction(found) <= Fraction(one.lost(x)) * 2 + 100 * len(c) * UNIT * terms, "and no more than that"


def test_a_pace_stops_before_what_is_left_to_do_would_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(sdp_pace.time, "monotonic", lambda: now[0])
    assert not Stopwatch(until=110.0, reserve=4.0, longest=5.9).stop()
    assert Stopwatch(until=110.0, reserve=4.0, longest=6.1).stop(), "the step would end in time, its check would not"
    assert Stopwatch(until=99.0).stop()
    assert not Stopwatch(until=100.5).stop(), "nothing is kept that nobody asked for"
    assert not Stopwatch().stop()
    pace = Stopwatch(until=110.0)
    assert not pace.stop()
    now[0] = 106.0
    assert pace.stop(), "the step just taken took six seconds, and four are left"
    assert (pace.longest, pace.late) == (6.0, True)
    pace = Stopwatch(until=110.0)
    pace.stop()
    pace.pause()
    now[0] = 109.0
    assert not pace.stop(), "what follows a pause is no step"
    assert pace.longest == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_a_certificate_gives_away_more_than_its_sums_can_lose(seed: int) -> None:
    """Against the Lagrangian itself at the best point of the cube that is found: a certificate lies below by all its own terms."""
    one = dual(seed)
    of = one.parts(one.crown()[1])
    x = torch.cat(of._replace(inputs=of.inputs + 3, box=of.box + 3))  # convex, with its least point inside
    c, g, Q = one.quadratic(x)
    assert float(torch.linalg.eigvalsh(Q)[0]) > 0
    w = torch.linalg.solve(2 * Q, -g)
    assert float(w.abs().max()) < 1
    found, value = one.certified(x), float(c + g @ w + w @ (Q @ w))
    terms = float(c.abs() + g.abs().sum() + Q.abs().sum() + 4 * x.abs().sum())
    assert 3.5 * len(g) * 2.0**-52 * terms <= value - found - one.lost(x) <= 20 * len(g) * 2.0**-52 * terms


def test_multipliers_that_are_no_numbers_prove_nothing() -> None:
    one = dual(0)
    x = one.crown()[1].clone()
    x[0] = float("nan")
    assert one.certified(x) == -float("inf")
