"""One of every kind of set, around the same inputs; contract tests run over them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epsball.forms.interval import Interval
from epsball.problem.sets import (
    Box,
    Geometric,
    InputSet,
    LpBall,
    Patch,
    Photometric,
    Polytope,
    Product,
    Tabular,
    Transformed,
    WordSubstitution,
)
from epsball.problem.sets.table import rows_box

UNIT = (0.0, 1.0)
PICTURE = (2, 4, 3)  # of x: channels, height, width


def pictures(count: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Inputs in [0, 1], some of them at its ends."""
    x = torch.rand(count, *PICTURE, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return ((x - 0.5) * 1.2 + 0.5).clamp(0, 1)


def polytope(x: Tensor, rows: int = 4) -> Polytope:
    """Random half-spaces that x keeps, some of them just so."""
    generator = torch.Generator().manual_seed(8)
    flat = x.flatten(1).double()
    A = torch.randn(rows, flat.shape[1], generator=generator, dtype=torch.float64)
    return Polytope(A, flat @ A.T + torch.linspace(0, 0.3, rows, dtype=torch.float64), Box(x, 0.4, UNIT))


def product(x: Tensor) -> Product:
    """Every other feature in an l2 ball, the next ones in a box, the others in an l0 ball."""
    flat = x.flatten(1)
    numbers = torch.arange(flat.shape[1])
    parts = [numbers[0::3].flip(0), numbers[1::3], numbers[2::3]]
    sets = [LpBall(flat[:, parts[0]], 0.5, "l2", UNIT), Box(flat[:, parts[1]], 0.1, UNIT), LpBall(flat[:, parts[2]], 2, "l0", UNIT)]
    return Product(tuple(x.shape[1:]), list(zip(parts, sets, strict=True)))


def sentence(x: Tensor) -> WordSubstitution:
    """Words whose vectors are columns of the inputs: as many features a sample as the pictures have."""
    generator = torch.Generator().manual_seed(9)
    embedding = torch.randn(12, 4, generator=generator, dtype=x.dtype)
    tokens = torch.randint(12, (len(x), 6), generator=generator)
    synonyms = {word: [(word + 1) % 12, (word + 5) % 12][: 1 + word % 2] for word in range(10)}
    return WordSubstitution(embedding, tokens, synonyms, budget=3)


def table(x: Tensor) -> Tabular:
    """Six numbers, six whole numbers, and categories of 4, 2 and 6 values; one of the values is never taken."""
    flat = x.flatten(1).clone()
    flat[:, 6:12] = (flat[:, 6:12] * 5).round()
    groups = (range(12, 16), range(16, 18), range(18, 24))
    for group in (list(group) for group in groups):
        flat[:, group] = torch.eye(len(group), dtype=x.dtype)[flat[:, group].argmax(1)]
    free = torch.ones(24, dtype=torch.bool)
    free[19] = False
    reach = torch.tensor([0.2] * 6 + [0.0, 1.0, 2.0, 2.5, 0.5, 1.0] + [0.0] * 12, dtype=torch.float64)
    valid = Interval(torch.full((24,), -1.0, dtype=torch.float64), torch.full((24,), 5.5, dtype=torch.float64))
    whole = tuple(range(6, 12))
    box = rows_box(flat, Interval(-reach, reach.flip(0).roll(12)), valid, whole, groups, free)
    shaped = Box.with_ends(
        *(t.view_as(x) for t in (flat,)), *(Interval(e.lower.view_as(x), e.upper.view_as(x)) for e in (box.hull(), box.inside))
    )
    return Tabular(shaped, whole, groups)


CONVEX: dict[str, Callable[[Tensor], InputSet]] = {
    "linf": lambda x: LpBall(x, 0.1),
    "linf cut": lambda x: LpBall(x, 0.3, "linf", UNIT),
    "l2": lambda x: LpBall(x, 0.7, "l2"),
    "l2 cut": lambda x: LpBall(x, 1.5, "l2", UNIT),
    "l2 half": lambda x: LpBall(x, 1.5, "l2", UNIT).split(2)[1].split(2)[1].split(5)[0],
    "l1": lambda x: LpBall(x, 1.3, "l1"),
    "l1 cut": lambda x: LpBall(x, 2.2, "l1", UNIT),
    "l1 half": lambda x: LpBall(x, 2.2, "l1", UNIT).split(2)[0].split(2)[0].split(5)[0],
    "box": lambda x: Box(x, 0.3 * torch.rand(x.shape, generator=torch.Generator().manual_seed(7)), UNIT),
    "point": lambda x: Box(x, 0.0),
    "polytope": polytope,
    "polytope half": lambda x: polytope(x, 2).split(2)[1],
}
SETS: dict[str, Callable[[Tensor], InputSet]] = CONVEX | {
    "l0": lambda x: LpBall(x, 3, "l0", UNIT),
    "l0 half": lambda x: LpBall(x, 3, "l0", UNIT).split(2)[1].split(2)[1].split(5)[0].split(7)[1],
    "patch": lambda x: Patch(x, 2),
    "patch half": lambda x: Patch(x, 2).split(4)[1].split(4)[1].split(0)[0],
    "product": product,
    "words": sentence,
    "table": table,
    "table half": lambda x: table(x).split(13)[1].split(9)[0].split(2)[1],
}
PARAMETRISED: dict[str, Callable[[Tensor], InputSet]] = {
    "photometric": lambda x: Transformed.within(x, Photometric(UNIT), contrast=0.2, brightness=0.1),
    "rotation": lambda x: Transformed.within(x, Geometric(), angle=8.0),
    "translation": lambda x: Transformed.within(x, Geometric(pieces=16), right=0.4, down=0.3),
}
