"""Sets in many cells, of few parameters or of a patch's positions: attacked whole, proven cell by cell."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar

import torch

from epsball.errors import BadConfig
from epsball.problem.problem import Budget, Problem
from epsball.problem.sets.base import Divisible, InputSet
from epsball.types import Tensor
from epsball.verification.base import Verdict, verifiers, worst
from epsball.verification.ladder import FALSIFIERS, Ladder
from epsball.verification.soundness import contradiction

_NAME = "cells"
_FOUND = ".found"


@verifiers.register("cells")
@dataclass(frozen=True)
class Cells:
    """The ladder over every cell of a set: verified when all cells are, falsified when one of them is.

    A proof over all parameters of a transform, or over all positions of a patch, is loose; its slack shrinks with the cell.

    Attributes:
        count: cells along each parameter that varies, or blocks of positions along each side of the picture.
        ladder: its steps "clean" and "attack" run on the whole set first, all others on the cells of what is left.

    Sound:   yes, up to floating point.   Complete: no.
    Raises:  BadConfig for less than one cell, or a ladder without steps of either kind; what the ladder raises.
    Paper:   Balunovic et al. 2019, Certifying Geometric Robustness of Neural Networks (splits of the parameters).
    """

    complete: ClassVar[bool] = False
    count: int = 10
    ladder: Ladder = field(default_factory=Ladder)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadConfig(f"{self.count} cells", where=repr(self), fix="give 1 or more")
        falsify = [step in FALSIFIERS for step in self.ladder.steps]
        if not any(falsify) or all(falsify):
            raise BadConfig(
                "cells need steps that falsify and steps that prove", fix='such as Ladder(("clean", "attack", "crown"))'
            )

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; a set without cells is given to the ladder as it is."""
        whole = problem.input_set
        first = tuple(step for step in self.ladder.steps if step in FALSIFIERS)
        rest = tuple(step for step in self.ladder.steps if step not in FALSIFIERS)
        if not isinstance(whole, Divisible):
            return self.ladder(problem, budget)
        began = time.monotonic()
        verdicts = replace(self.ladder, steps=first, everywhere=())(problem, budget)
        open_ = [i for i, verdict in enumerate(verdicts) if verdict.status == "unknown"]
        if not open_:
            return verdicts
        index = torch.tensor(open_, dtype=torch.long, device=whole.centre.device)
        part = problem.take(index)
        cells, owner = _cells(part.input_set, self.count)
        left = replace(budget, seconds=max(budget.seconds - (time.monotonic() - began), 1e-9))
        parts = replace(self.ladder, steps=rest, everywhere=())(Problem(problem.network, cells, part.prop.take(owner)), left)
        each = len(parts) // len(open_)
        done = list(verdicts)
        for number, i in enumerate(open_):
            done[i] = _together(parts[number * each : (number + 1) * each], verdicts[i])
            found = {name: value for name, value in done[i].stats.items() if name in first or name.endswith(_FOUND)}
            wrong = contradiction(found, {_NAME: done[i].margin}, dtype=problem.network.dtype)
            if wrong:
                done[i] = replace(done[i], status="error", note=wrong)
        return done


def _cells(input_set: InputSet, count: int) -> tuple[InputSet, Tensor]:
    if not isinstance(input_set, Divisible):
        raise TypeError("a divisible set has divisible samples")
    return input_set.cells(count)


def _together(cells: Sequence[Verdict], before: Verdict) -> Verdict:
    """The verdict of a whole from those of its cells: the worst decides, and brings its witness or its note.

    The margin is the least of all, for each cell has its own best method; so is what was found in a cell.
    """
    status = worst(cell.status for cell in cells)
    deciding = next(cell for cell in cells if cell.status == status)
    seconds = sum(cell.seconds for cell in cells)
    margins = [cell.margin for cell in cells]
    margin = math.nan if any(map(math.isnan, margins)) else min(margins)
    found = [value for cell in cells for name, value in cell.stats.items() if name.endswith(_FOUND) and not math.isnan(value)]
    return replace(
        deciding,
        margin=margin,
        method=_NAME,
        seconds=before.seconds + seconds,
        stats=MappingProxyType(
            {**before.stats, _NAME: margin, f"{_NAME}.seconds": seconds} | ({f"{_NAME}{_FOUND}": min(found)} if found else {})
        ),
    )
