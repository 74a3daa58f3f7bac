"""How much of the gap between a proof and an attack is the convex barrier's (Salman et al. 2019, arXiv:1902.08722).

    CROWN  <=  LP at CROWN's intermediate bounds  <=  LP with LP-tight ones  <=  the true least margin  <=  what an attack finds

For ReLU, whose lines over a smaller interval lie inside those over a larger one, each is at least as tight as the one before by
itself, and no method that relaxes one neuron at a time gets past the third: what lies between it and the attack is closed by
nothing but relaxing several neurons together, splitting cases, or a stronger attack. Lines of a curved function (tanh, sigmoid) are
chosen anew for each interval and need not nest: a tighter interval may give a looser program. There each number is the better of
the program and the one before, row by row; both are proven, but the third is no barrier of all methods.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from epsball.attacks.base import Attack
from epsball.attacks.pgd import PGD
from epsball.bounding.linear.crown import Crown
from epsball.device import exact_arithmetic
from epsball.device import generator as seeded
from epsball.errors import Unsound
from epsball.problem.problem import check_input
from epsball.problem.property import robust
from epsball.record.continued import continued
from epsball.record.lines import BarrierLine, Line, SummaryLine
from epsball.record.origin import described
from epsball.run.case import headline
from epsball.run.track import unheard
from epsball.verification.programs.multi_neuron import MultiNeuron
from epsball.verification.programs.solvers import Solver
from epsball.verification.programs.triangle import TriangleLp
from epsball.verification.soundness import contradiction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from epsball.ops.network import Network
    from epsball.ops.prepared import Prepared
    from epsball.problem.property import Property
    from epsball.problem.sets import InputSet
    from epsball.run.case import Case
    from epsball.types import Tensor

CHAIN = ("crown", "lp", "lp-tight")
_ATTAINED = 1e-5


@dataclass(frozen=True)
class Barrier:
    """What is compared, and how hard is tried.

    Attributes:
        bounds: CROWN's options: it is both the first of the chain and the source of the LP's intermediate bounds.
        groups: whether the hulls of groups of three neurons are tried as well: they pass the barrier.
        attack: the upper side; the minimisers of all programs are tried besides.
        solver: of the linear programs.
        seconds: for one image; a chain that is cut off says "timeout", and its missing numbers are null.
        seed: of the attack.
    """

    bounds: Crown = field(default_factory=Crown)
    groups: bool = False
    attack: Attack = field(default_factory=lambda: PGD(steps=80, targets="all", loss="margin"))
    solver: Solver = "auto"
    seconds: float = math.inf
    seed: int = 0

    @property
    def methods(self) -> dict[str, TriangleLp]:
        """The linear programs, from the cheapest on: each counts together with the ones before it."""
        found = {"lp": TriangleLp(self.bounds, "given", self.solver), "lp-tight": TriangleLp(self.bounds, "lp", self.solver)}
        return found | ({"multi-neuron": MultiNeuron(self.bounds, "lp", self.solver)} if self.groups else {})

    def lines(
        self,
        network: Network,
        samples: Iterable[tuple[int, Tensor, Tensor]],
        ball: Callable[[Tensor, Tensor], InputSet],
        dtype: torch.dtype,
    ) -> Iterator[BarrierLine]:
        """A line of type "barrier" for each sample.

        Args:
            network: the network.
            samples: index in the data, input (1, *x), label (1,).
            ball: inputs and their index in the data to their sets.
            dtype: arithmetic of all of it.

        Raises:
            Unsound: an attack went below a bound.
            BadShape: the inputs do not fit.
        """
        prepared = network.prepare(dtype)
        for index, x, y in samples:
            check_input(x, network.input_shape)
            input_set = ball(x.to(prepared.device, dtype), torch.tensor([index], dtype=torch.long))
            prop = robust(y.to(prepared.device), network.classes, dtype)
            with torch.no_grad(), exact_arithmetic():
                yield _Chain(self, prepared, input_set, prop).line(index, int(y))


@dataclass(eq=False)
class _Chain:
    """One sample."""

    options: Barrier
    network: Prepared
    input_set: InputSet
    prop: Property
    proven: list[float] = field(default_factory=list)

    def line(self, index: int, label: int) -> BarrierLine:
        until = time.monotonic() + self.options.seconds
        margins: dict[str, float] = {"clean": self._evaluate(self.input_set.centre)}
        seconds: dict[str, float] = {}
        if margins["clean"] <= 0:
            return BarrierLine(index=index, label=label, status="misclassified", margins=dict(margins))
        status: Literal["done", "timeout"] = "done"
        unstable = 0
        start = time.perf_counter()
        with torch.enable_grad():
            found = self.options.attack(
                self.network.forward, self.input_set, self.prop, seeded(self.network.device, self.options.seed, index)
            )
        margins["attack"] = min(margins["clean"], self._evaluate(found.x))
        seconds["attack"] = time.perf_counter() - start
        for name, method in self.options.methods.items():
            start = time.perf_counter()
            done, count, crown = self._bound(name, method, margins, until)
            unstable = count if "crown" not in margins else unstable
            margins.setdefault("crown", crown)
            seconds[name] = time.perf_counter() - start
            if not done:
                status = "timeout"
                break
        proven = {k: v for k, v in margins.items() if k not in ("clean", "attack")}
        scale = float(self.network.forward(self.input_set.centre).abs().max())
        wrong = contradiction({"attack": margins["attack"]}, proven, dtype=self.network.dtype, scale=scale)
        if wrong:
            raise Unsound(wrong, where=f"index {index} of the data", fix="report this with the network and the input")
        spent = {k: round(s, 4) for k, s in seconds.items()}
        told = {"margins": margins, **_read(margins), "unstable": unstable, "seconds": spent}
        return BarrierLine(index=index, label=label, status=status, **told)

    def _bound(self, name: str, method: TriangleLp, margins: dict[str, float], until: float) -> tuple[bool, int, float]:
        """The least margin by one method; whether it was done in time, the count of unstable units, and CROWN's margin.

        A row that CROWN bounds above what the attack reached cannot hold the least margin of any method: no program is needed.
        """
        relaxation = method.open(self.network, self.input_set, until)
        rows = method.crown(relaxation, self.prop.rows())[:, 0]
        forms, bounds = relaxation.output(self.prop.rows()), rows.tolist()
        if self.proven:
            bounds = [max(pair) for pair in zip(bounds, self.proven, strict=True)]
        for row in rows.argsort().tolist():
            if rows[row] > margins["attack"]:
                break
            best = method.least(relaxation, forms, row)
            if best.outcome != "optimal" or time.monotonic() > until:
                return False, relaxation.unstable, float(rows.amin())
            bounds[row] = max(bounds[row], best.bound)
            for v in (*best.earlier, *(() if best.v is None else (best.v,))):
                margins["attack"] = min(margins["attack"], self._evaluate(relaxation.encoding.point(v)))
        self.proven, margins[name] = bounds, min(bounds)
        return True, relaxation.unstable, float(rows.amin())

    def _evaluate(self, x: Tensor) -> float:
        return float(self.prop.margins(self.network.forward(x)).amin())


def _read(margins: dict[str, float]) -> dict[str, Any]:
    """What the chain says: whether it meets, and the barrier's share of the gap."""
    crown, tight, attack = (margins.get(k) for k in ("crown", "lp-tight", "attack"))
    if crown is None or tight is None or attack is None:
        return {"exact": None, "gap": None, "barrier": None}
    size = 1 + abs(attack)
    exact = attack - tight <= _ATTAINED * size
    return {"exact": exact, "gap": attack - crown, "barrier": 0.0 if exact else attack - tight}


def summarise(lines: Iterable[Line], **told: Any) -> SummaryLine:
    """Means over the samples whose chain is whole; the rest are counted by status.

    Returns:
        A summary line: mean margins by method, the mean gap between the attack and CROWN, the barrier's part of it (`barrier`, at
        most: a better attack makes it smaller), what LP gains at CROWN's intermediate bounds and what LP-tight ones gain.
    """
    found = [line for line in lines if isinstance(line, BarrierLine)]
    whole = [(line.margins, line.gap, line.barrier) for line in found if line.gap is not None]
    names = [k for k in ("crown", "lp", "lp-tight", "multi-neuron", "attack") if any(k in margins for margins, _, _ in whole)]
    values = {k: [v for margins, _, _ in whole if (v := margins.get(k)) is not None] for k in names}
    gap, barrier = _mean([gap for _, gap, _ in whole]), _mean([part for _, _, part in whole if part is not None])
    return SummaryLine(
        verb="analyse",
        count=len(found),
        whole=len(whole),
        misclassified=sum(line.status == "misclassified" for line in found),
        timeout=sum(line.status == "timeout" for line in found),
        exact=sum(bool(line.exact) for line in found),
        positive={k: sum(v > 0 for v in values[k]) for k in names},
        margins={k: _mean(values[k]) for k in names},
        gap=gap,
        barrier=barrier,
        share=barrier / gap if gap and barrier is not None else None,
        **told,
    )


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def analyse(
    case: Case, options: Barrier, path: Path | None, progress: Callable[[int, int], None] = unheard
) -> tuple[SummaryLine, list[BarrierLine]]:
    """The chain for every example of a case, recorded line by line if there is a folder for it.

    Returns:
        The summary line, and the lines of the examples.

    Raises:
        RunInUse, BadConfig: the folder is in use, or holds another run.
    """
    with continued(path, case.heading("analyse", case.described(analysis="barrier", **described(options)))) as record:
        for line in options.lines(case.network, _samples(case), case.ball, case.dtype):
            record.append(line)
            progress(len(record.lines), len(case.index))
        found = record.of(BarrierLine)
        summary = summarise(found, **headline(case))
        record.append(summary)
    return summary, found


def _samples(case: Case) -> Iterator[tuple[int, Tensor, Tensor]]:
    for index in case.index.tolist():
        chosen = torch.tensor([index], dtype=torch.long)
        yield index, case.data.test.inputs(chosen).to(case.device), case.data.test.y[chosen].to(case.device)
