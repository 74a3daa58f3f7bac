"""Sets in many cells, of few parameters or of a patch's positions: attacked whole, proven cell by cell."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import torch

from epsball.errors import BadConfig
from epsball.problem.problem import Budget, Problem
from epsball.problem.sets.base import Divisible
from epsball.verification.base import Evidence, Verdict, Verifier, found_by, verifiers, worst
from epsball.verification.ladder import Ladder
from epsball.verification.soundness import contradiction


@verifiers.register("cells")
@dataclass(frozen=True)
class Cells(Verifier):
    """The ladder over every cell of a set: verified when all cells are, falsified when one of them is.

    A proof over all parameters of a transform, or over all positions of a patch, is loose; its slack shrinks with the cell.

    Attributes:
        count: cells along each parameter that varies, or blocks of positions along each side of the picture.
        ladder: its steps "clean" and "attack" run on the whole set first, all others on the cells of what is left.

    Sound:   yes, up to floating point.   Complete: no.
    Raises:  BadConfig for less than one cell, or a ladder without steps of either kind; what the ladder raises.
    Paper:   Balunovic et al. 2019, Certifying Geometric Robustness of Neural Networks (splits of the parameters).
    """

    composed: ClassVar[bool] = True
    count: int = 10
    ladder: Ladder = field(default_factory=Ladder)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BadConfig(f"{self.count} cells", where=repr(self), fix="give 1 or more")
        if not all(self.ladder.parted()):
            raise BadConfig(
                "cells need steps that falsify and steps that prove", fix='such as Ladder(("clean", "attack", "crown"))'
            )

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; a set without cells is given to the ladder as it is."""
        if not isinstance(problem.input_set, Divisible):
            return self.ladder(problem, budget)
        first, rest = self.ladder.parted()
        began = time.monotonic()
        verdicts = replace(self.ladder, steps=first, everywhere=())(problem, budget)
        open_ = [i for i, verdict in enumerate(verdicts) if verdict.status == "unknown"]
        if not open_:
            return verdicts
        part = problem.take(torch.tensor(open_, dtype=torch.long, device=problem.input_set.centre.device))
        cells, owner = cast("Divisible", part.input_set).cells(self.count)
        left = replace(budget, seconds=max(budget.seconds - (time.monotonic() - began), 1e-9))
        divided = replace(part, input_set=cells, prop=part.prop.take(owner))
        parts = replace(self.ladder, steps=rest, everywhere=())(divided, left)
        each = len(parts) // len(open_)
        done = list(verdicts)
        for number, i in enumerate(open_):
            together = _together(self.name, parts[number * each : (number + 1) * each], verdicts[i])
            wrong = contradiction(found_by(together.evidence), {self.name: together.margin}, dtype=problem.network.dtype)
            done[i] = replace(together, status="error", note=wrong) if wrong else together
        return done


def _together(name: str, cells: Sequence[Verdict], before: Verdict) -> Verdict:
    """The verdict of a whole from those of its cells: the worst decides, and brings its witness or its note.

    The margin is the least of all, for each cell has its own best method; so is what was found in a cell.
    """
    status = worst(cell.status for cell in cells)
    deciding = next(cell for cell in cells if cell.status == status)
    seconds = sum(cell.seconds for cell in cells)
    margins = [cell.margin for cell in cells]
    margin = math.nan if any(map(math.isnan, margins)) else min(margins)
    found = [value for cell in cells for value in found_by(cell.evidence).values() if not math.isnan(value)]
    evidence = Evidence(name, margin, min(found, default=None), seconds=seconds)
    return replace(deciding, margin=margin, method=name, seconds=before.seconds + seconds, evidence=(*before.evidence, evidence))
