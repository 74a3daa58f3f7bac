"""Which points a set holds as it was meant: against rationals, written out for each kind. A wrong yes is a false `falsified`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from epsball.errors import BadShape
from epsball.problem.sets import Box, InputSet, LpBall, Patch, Polytope, Product, WordSubstitution
from set_zoo import PARAMETRISED, SETS, UNIT, pictures, sentence

Holds = Callable[[list[float]], bool]
SIZE = 6


def centre(dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.rand(1, SIZE, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 0.8 + 0.1


def exactly(norm: str, x: list[float], eps: float, clip: tuple[float, float] | None) -> Holds:
    """A ball in rationals."""

    def holds(point: list[float]) -> bool:
        moves = [abs(Fraction(a) - Fraction(b)) for a, b in zip(point, x, strict=True)]
        if clip is not None and not all(Fraction(clip[0]) <= Fraction(a) <= Fraction(clip[1]) for a in point):
            return False
        size = {"linf": max(moves), "l1": sum(moves), "l2": sum(m * m for m in moves), "l0": sum(m > 0 for m in moves)}[norm]
        return size <= (Fraction(eps) ** 2 if norm == "l2" else Fraction(eps))

    return holds


BALLS = [
    ("linf", 0.3, None),
    ("linf", 0.3, UNIT),
    ("l2", 0.7, None),
    ("l2", 0.4, UNIT),
    ("l1", 1.1, None),
    ("l1", 0.6, UNIT),
    ("l0", 2.0, UNIT),
]


def points(inputs: InputSet, count: int, seed: int) -> torch.Tensor:
    """Points within, at the edge and a few steps on either side of it, and outside."""
    generator, x = torch.Generator().manual_seed(seed), inputs.centre
    found = []
    for number in range(count):
        far = x + 3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        edge = inputs.project(far)
        step = torch.full_like(edge, torch.inf if number % 2 else -torch.inf)
        nearby = torch.nextafter(edge, step)
        one = edge.clone()
        at = number % SIZE
        one[0, at] = torch.nextafter(one[0, at], torch.tensor(torch.inf if far[0, at] > x[0, at] else -torch.inf, dtype=x.dtype))
        found += [edge, nearby, one, torch.lerp(x, edge, 0.99), torch.lerp(x, edge, 1.01), inputs.sample(generator), far]
    return torch.cat(found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "eps", "clip"), BALLS)
def test_a_ball_holds_what_it_holds_in_rationals(norm, eps, clip, dtype) -> None:
    for seed in range(3):
        x = centre(dtype, seed)
        ball, exact = LpBall(x, eps, norm, clip), exactly(norm, x[0].tolist(), eps, clip)
        every = points(ball, 12, seed)
        held = [bool(ball.holds(p[None])) for p in every]
        truth = [exact(p.tolist()) for p in every]
        assert held == truth
        assert any(truth)
        assert not all(truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "eps", "clip"), BALLS)
def test_the_set_rounded_inwards_gives_points_of_the_exact_set(norm, eps, clip, dtype) -> None:
    for seed in range(4):
        x = centre(dtype, seed)
        ball, exact = LpBall(x, eps, norm, clip), exactly(norm, x[0].tolist(), eps, clip)
        inner = ball.inner()
        for p in points(inner, 12, seed).view(-1, 7, SIZE)[:, [0, 5]].flatten(0, 1):  # projected and sampled
            assert exact(p.tolist())
        reach = inner.hull()
        assert float((ball.hull().width - reach.width).abs().max()) <= 1e-5 * eps + 1e-6, "and hardly fewer of them"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_box_has_a_radius_for_each_feature(dtype) -> None:
    x, radius = centre(dtype, 0), torch.tensor([0.0, 0.1, 0.2, 0.3, 1e-9, 0.7])
    box = Box(x, radius, UNIT)
    for p in points(box, 20, 1):
        exact = all(
            abs(Fraction(a) - Fraction(b)) <= Fraction(r) and 0 <= a <= 1
            for a, b, r in zip(p.tolist(), x[0].tolist(), radius.tolist(), strict=True)
        )
        assert exact or not bool(box.holds(p[None]))
    for p in points(box.inner(), 20, 1).view(-1, 7, SIZE)[:, [0, 5]].flatten(0, 1):
        assert bool(box.holds(p[None]))
    assert bool(box.holds(x))
    given = Box.between(x - 0.25, x + 0.25)
    assert given.holds(x + 0.25).tolist() == given.holds(x - 0.25).tolist() == [True]
    assert given.holds(torch.nextafter(x + 0.25, torch.full_like(x, 9.0))).tolist() == [False]


def test_a_polytope_holds_what_keeps_every_constraint() -> None:
    x = torch.full((2, 2), 0.5)
    A, b = torch.tensor([[1.0, 1.0], [-1.0, 2.0]]), torch.tensor([[1.25, 0.75], [1.0, 0.5]])
    whole = Polytope(A, b, Box(x, 0.5, UNIT))
    found = []
    for p in itertools.product([0.25, 0.5, 0.75, torch.nextafter(torch.tensor(0.75), torch.tensor(1.0)).item()], repeat=2):
        point = torch.tensor(p).expand(2, 2)
        want = [
            Fraction(p[0]) + Fraction(p[1]) <= Fraction(e) and 2 * Fraction(p[1]) - Fraction(p[0]) <= Fraction(f)
            for e, f in b.tolist()
        ]
        assert whole.holds(point).tolist() == want
        assert whole.inner().holds(point).tolist() == want
        assert whole.take(torch.tensor([1])).holds(point[:1]).tolist() == want[1:]
        found += want
    assert len(set(found)) == 2
    assert whole.holds(torch.tensor([[1.5, -0.5], [0.5, 0.5]])).tolist() == [False, True], "outside its box"
    own = Polytope(torch.stack((A, -A)), b, Box(x, 0.5, UNIT))
    assert own.holds(torch.tensor([[0.75, 0.75], [0.75, 0.75]])).tolist() == [False, True]


def test_constraints_that_are_no_matrix_are_refused() -> None:
    for A, b in ((torch.ones(2), torch.ones(2)), (torch.ones(()), torch.ones(1)), (torch.ones(0, 2), torch.ones(0))):
        with pytest.raises(BadShape, match="constraints A"):
            Polytope(A, b, Box(torch.full((1, 2), 0.5), 0.5, UNIT))


def test_a_product_holds_what_each_part_holds() -> None:
    x = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    parts = [(torch.tensor([0, 2]), LpBall(x[:, :2], 0.25, "l1")), (torch.tensor([3, 1]), Box(x[:, :2], torch.tensor([0.1, 0.3])))]
    whole = Product((4,), parts)
    for move, held in [
        ((0.0, 0.0, 0.0, 0.0), True), ((0.125, 0.0, 0.125, 0.0), True), ((0.25, 0.0, 0.125, 0.0), False),
        ((0.0, 0.25, 0.0, 0.0), True), ((0.0, 0.0, 0.0, 0.25), False), ((0.25, 0.25, 0.0, 0.0625), True),
        ((0.25, 0.5, 0.0, 0.0), False),
    ]:  # fmt: skip
        assert whole.holds(x + torch.tensor([move])).tolist() == [held], move
    inner = whole.inner()
    for seed in range(10):
        assert bool(whole.holds(inner.sample(torch.Generator().manual_seed(seed))))
        assert bool(whole.holds(inner.project(x + torch.randn(1, 4, generator=torch.Generator().manual_seed(seed)))))
    assert float(inner.hull().upper[0, 3]) <= 0.6 < float(inner.hull().upper[0, 1])


def in_one_square(x: torch.Tensor, p: torch.Tensor, size: int) -> bool:
    moved = [(r, c) for _, r, c in (p != x).nonzero().tolist()]
    rows, columns = [r for r, _ in moved] or [0], [c for _, c in moved] or [0]
    return max(rows) - min(rows) < size and max(columns) - min(columns) < size and bool(((p >= 0) & (p <= 1)).all())


def test_a_patch_holds_what_differs_in_one_square() -> None:
    x = pictures(1)
    patch = Patch(x, 2)
    seen = set()
    for a, b in itertools.product(range(x.numel()), repeat=2):
        p = x.clone()
        p.view(-1)[a], p.view(-1)[b] = 1 - p.view(-1)[a], 0.25
        want = in_one_square(x[0], p[0], 2)
        assert patch.holds(p).tolist() == [want]
        seen.add(want)
    assert seen == {True, False}
    beyond = x.clone()
    beyond.view(-1)[0] = 1.5
    assert patch.holds(beyond).tolist() == patch.holds(torch.full_like(x, 0.5)).tolist() == [False]


def test_words_hold_their_sentences_only() -> None:
    x = pictures(2)
    words = sentence(x)
    assert isinstance(words, WordSubstitution)
    there = words.sample(torch.Generator().manual_seed(0))
    assert words.holds(there).tolist() == words.inner().holds(there).tolist() == words.holds(words.centre).tolist() == [True] * 2
    assert words.holds(there + 1e-9).tolist() == [False] * 2
    swapped = words.centre.flip(0)
    assert words.holds(swapped).tolist() == [False] * 2, "each sample has its own sentences"


@pytest.mark.parametrize("kind", [*SETS, *PARAMETRISED])
def test_what_the_set_rounded_inwards_gives_is_held(kind: str) -> None:
    for dtype in (torch.float32, torch.float64):
        x = pictures(3, dtype)
        inputs = (SETS | PARAMETRISED)[kind](x)
        inner = inputs.inner()
        for seed in range(4):
            generator = torch.Generator().manual_seed(seed)
            wild = x + torch.randn(x.shape, generator=generator, dtype=dtype)
            if inputs.centre.shape != x.shape:
                wild = inputs.centre + torch.randn(inputs.centre.shape, generator=generator, dtype=dtype)
            if not kind.startswith("polytope"):  # whose constraints have slack: what lies on them is asked one by one
                assert inputs.holds(inner.sample(generator)).all()
                assert inputs.holds(inner.project(wild)).all()
            assert not inputs.holds(wild * 10 + 3).any()


def test_halves_hold_what_lies_on_their_side() -> None:
    x = pictures(1)
    for kind in ("linf cut", "l2 cut", "l1 cut", "l0", "patch"):
        whole = SETS[kind](x)
        low, high = whole.split(4)
        for seed in range(30):
            p = whole.inner().sample(torch.Generator().manual_seed(seed))
            for half, other in ((low, high), (high, low)):
                assert bool(half.holds(p)) == (
                    float(half.hull().lower.flatten()[4]) <= float(p.flatten()[4]) <= float(half.hull().upper.flatten()[4])
                ), kind
                assert bool(half.holds(p)) or bool(other.holds(p))


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_samples_of_one_ball_are_not_all_at_one_distance(norm: str) -> None:
    """Drawn sample by sample, and spread over the ball."""
    ball = LpBall(torch.full((400, 2), 0.5, dtype=torch.float64), 0.4, norm)
    moved = ball.sample(torch.Generator().manual_seed(0)) - 0.5
    size = torch.linalg.vector_norm(moved, ord=int(norm[1]), dim=1) / 0.4
    assert 0.6 < float(size.mean()) < 0.73, "two thirds of the radius, in two dimensions"
    assert float(size.min()) < 0.15
    assert 0.97 < float(size.max()) <= 1 + 1e-9
    assert all(0.4 < float((moved[:, i] > 0).double().mean()) < 0.6 for i in range(2))


@pytest.mark.parametrize("norm", ["l2", "l1", "l0"])
def test_a_half_reaches_as_far_as_what_is_spent_already_leaves(norm: str) -> None:
    """Cut twice through one feature, and once through another, so that both must move: the rest has what is left."""
    x, eps = torch.full((1, 4), 0.5, dtype=torch.float64), 2.0 if norm == "l0" else 0.4
    half = LpBall(x, eps, norm, UNIT).split(1)[1].split(1)[1].split(3)[0].split(3)[0]
    hull, cut = half.hull(), half.cut
    must = [max(0.0, float(cut.lower[0, i]) - 0.5, 0.5 - float(cut.upper[0, i])) for i in range(4)]
    assert must[1] > 0.05
    assert must[3] > 0.05
    for i in range(4):
        others = [m for j, m in enumerate(must) if j != i]
        if norm == "l0":
            left = 0.5 if sum(m > 0 for m in others) < eps else 0.0
        else:
            left = eps - sum(others) if norm == "l1" else (eps**2 - sum(m * m for m in others)) ** 0.5
        low, high = max(float(cut.lower[0, i]), 0.5 - left), min(float(cut.upper[0, i]), 0.5 + left)
        assert low - 1e-9 <= float(hull.lower[0, i]) <= low, i
        assert high <= float(hull.upper[0, i]) <= high + 1e-9, i
