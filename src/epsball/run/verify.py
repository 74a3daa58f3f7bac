"""Verifying a trained network on a data set, in a run folder whose record survives anything.

A verification appends one line an instance, batch by batch. Resumed, it goes on with the instances that have no line yet; sharded,
each process has a folder of its own, and a report reads them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from epsball.errors import BadConfig, Unsound
from epsball.problem.problem import Budget
from epsball.problem.sets.base import Divisible
from epsball.record.continued import batches, continued
from epsball.record.lines import InstanceLine, SummaryLine, WitnessLine
from epsball.record.origin import described
from epsball.run.case import Case, headline
from epsball.run.track import unheard
from epsball.verification.divided import Cells
from epsball.verification.doubts import warn_near_chance
from epsball.verification.heard import Heard, listening, nobody
from epsball.verification.ladder import Ladder
from epsball.verification.soundness import CONTRADICTION
from epsball.verification.summary import summarise
from epsball.verification.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.verification.base import Verifier
    from epsball.verification.rungs import Step

WITNESSES = 12


@dataclass(frozen=True, eq=False)
class Judgement:
    """A verification run: one verdict an instance, in a record.

    Attributes:
        case: what is judged.
        verifier: how; the default is the ladder.
        seconds: budget of one instance.
        progress: called with the number of instances done so far and in all.
        steps: called with a step's name, the sample that it begins, counted from 1, and how many it was given.
        memory: bytes for bounds; it changes no result, so a run may be resumed with another.
    """

    case: Case
    verifier: Verifier = field(default_factory=Ladder)
    seconds: float = float("inf")
    progress: Callable[[int, int], None] = unheard
    steps: Heard = nobody
    memory: int = Budget.bytes

    def __post_init__(self) -> None:
        Budget(seconds=self.seconds, bytes=self.memory)  # a bad one fails here, before a folder is made
        self.case.network.plan.boundable()

    def run(self, path: Path, *, resume: bool = False, anyway: bool = False) -> SummaryLine:
        """Judge every instance that the folder's record does not hold yet, and return the summary line.

        Args:
            path: the run folder.
            resume: go on with the run that it holds.
            anyway: though another version of the code began it.

        Raises:
            Unsound: an attack beat a proof; every other verdict is in the record.
            BadConfig: the folder holds another run.
            RunInUse, DiskFull: what was recorded before is whole.
        """
        case = self.case
        heading = case.heading("verify", case.described(verifier=described(self.verifier), seconds=self.seconds))
        with continued(path, heading, resume=resume, anyway=anyway) as record:
            done = {line.index for line in record.of(InstanceLine)}
            for batch in batches([i for i in case.index.tolist() if i not in done]):
                with listening(self.steps):
                    lines = list(self._judge(batch, WITNESSES - len(record.of(WitnessLine))))
                record.append(*lines)
                self.progress(len(record.of(InstanceLine)), len(case.index))
            judged = record.of(InstanceLine)
            summary = summarise(judged, **headline(case))
            record.append(summary)
        refuse_contradictions(judged)
        warn_near_chance(sum(line.predicted == line.label for line in judged), len(judged), case.network.classes)
        return summary

    def _judge(self, index: list[int], witnesses: int) -> Iterator[InstanceLine | WitnessLine]:
        case = self.case
        chosen = torch.tensor(index)
        x, y = case.data.test.inputs(chosen), case.data.test.y[chosen]
        budget = Budget(seconds=self.seconds, bytes=self.memory)
        batch = [(chosen, x, y)]
        return survey(
            case.network, batch, lambda x: case.ball(x, chosen), self.verifier, budget, dtype=case.dtype, witnesses=witnesses
        )


CELLS = 10


def verifier_of(case: Case, steps: tuple[Step, ...], cells: int | None = None, *, seed: int = 0) -> Verifier:
    """The ladder of some steps; over sets that can be divided, cell by cell.

    Args:
        case: what is judged.
        steps: of the ladder.
        cells: along each parameter of a set, or blocks of a patch's positions along each side; default: 10.
        seed: of the attack.

    Raises:
        BadConfig: cells of sets that have none.
    """
    ladder = Ladder(steps=steps, seed=seed)
    first = case.index[:1]
    if isinstance(case.ball(case.data.test.inputs(first), first), Divisible):
        return Cells(CELLS if cells is None else cells, ladder)
    if cells is not None:
        raise BadConfig(f"a {case.norm} set has no cells", where="--cells", fix="leave it out, or give --perturbation")
    return ladder


def refuse_contradictions(lines: Sequence[InstanceLine]) -> None:
    """A verdict that contradicts itself is no answer, and a defect that must not go unseen.

    Raises:
        Unsound: names the samples.
    """
    wrong = [line for line in lines if line.note.startswith(CONTRADICTION)]
    if wrong:
        indices = ", ".join(str(line.index) for line in wrong[:5])
        raise Unsound(
            f"{len(wrong)} of {len(lines)} verdicts are contradictions; {wrong[0].note.removeprefix(CONTRADICTION)}",
            where=f"index {indices} of the data",
            fix="report this with the network and the input; the other verdicts are whole, and in the record",
        )
