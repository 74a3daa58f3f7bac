"""What is asked about networks whose answer is known: closed forms, planted counterexamples, networks that fool floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from tests.red.attack import Effort, Function, broken, evaluated, points_of
from tests.red.cases import Case
from tests.red.check import SECONDS, SLOW, Judged, Outcome
from tests.red.known import Known
from tests.red.planted import Planted
from tests.red.regions import Region
from torch import Tensor

import epsball
from epsball.bounding.base import bounders
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.verification.base import Verdict, verifiers
from epsball.verification.ladder import Ladder

NEAR = {torch.float64: 1e-6, torch.float32: 1e-3}
PROVEN = {torch.float64: 1e-9, torch.float32: 1e-5}  # of a proven margin above the exact least one, in proportion
SOLVED = {torch.float64: 1e-5, torch.float32: 1e-3}  # what a solver's tolerance may leave of a bound that is called exact
DENSE = Effort(2000, 256, 6, 8, ends=False)
UNITS = 30


def methods(turn: int | None, *, small: bool) -> list[str]:
    """Every bounder and verifier; or, of a turn, the ladder and two of them."""
    names = [f"ladder {name}" for name in bounders] + [f"verifier {name}" for name in verifiers if small or name not in SLOW]
    if turn is None:
        return ["verify", *names]
    return ["verify", *[names[(2 * turn + i) % len(names)] for i in range(2)]]


def answers(network: Network, region: Region, names: Sequence[str], out: Outcome) -> dict[str, Verdict]:
    """The verdict of each method on one sample of class 0."""
    input_set, labels = region.epsball(), torch.zeros(1, dtype=torch.int64)
    problem = Problem(network.prepare(), input_set, robust(labels, network.classes, region.centre.dtype))
    ask: dict[str, Callable[[], object]] = {"verify": lambda: epsball.verify(network, input_set, labels, timeout=SECONDS)}
    ask |= {f"ladder {n}": lambda n=n: Ladder((n,))(problem, Budget(seconds=SECONDS)) for n in bounders}
    ask |= {f"verifier {n}": lambda n=n: verifiers[n]()(problem, Budget(seconds=SECONDS)) for n in verifiers}
    found = {}
    for name in names:
        verdicts = out.asked(name, ask[name])
        if isinstance(verdicts, list):
            found[name] = verdicts[0]
            out.verdicts.append(f"{name.rsplit(' ', 1)[-1]}: {verdicts[0].status}")
    return found


def check_known(case: Known, turn: int | None = None, only: Sequence[str] = ()) -> Outcome:
    """Just inside the radius nothing may be falsified, just beyond it nothing verified, and no margin exceeds the exact one."""
    out = Outcome()
    network = out.asked("capture", lambda: Network.capture(case.module, tuple(case.centre.shape[1:])))
    if not isinstance(network, Network):
        return out
    near, proven = NEAR[case.centre.dtype], PROVEN[case.centre.dtype]
    for factor in (1 - near, 1 + near):
        region = case.region(factor)
        least = float(case.least(Fraction(region.eps)))
        for name, verdict in answers(network, region, only or methods(turn, small=case.units <= UNITS), out).items():
            where = f"{name} at {factor} r (r = {case.radius}): margin {verdict.margin:.9g}, exact {least:.9g}"
            if verdict.status == ("falsified" if factor < 1 else "verified"):
                out.findings.append((f"{verdict.status} on the wrong side", where))
            said = verdict.proven
            exact = [one.method for one in verdict.evidence if one.exact]
            if exact and abs(said[exact[0]] - least) > SOLVED[case.centre.dtype] * max(1, abs(least)):
                out.findings.append(("exact, yet nothing attains it", f"{where}: {exact[0]} {said[exact[0]]:.9g}"))
            above = [k for k, v in said.items() if k in (*bounders, *SLOW) and v > least + proven * max(1, abs(least))]
            if above:
                out.findings.append(("margin above the exact one", f"{where}: {above} {said[above[0]]:.9g}"))
    return out


def verified_within(case: Known) -> bool:
    """Whether the default ladder verifies at (1 - 1e-3) r."""
    network = Network.capture(case.module, tuple(case.centre.shape[1:]))
    region = case.region(1 - 1e-3)
    return epsball.verify(network, region.epsball(), torch.zeros(1, dtype=torch.int64))[0].status == "verified"


def check_planted(case: Planted, turn: int | None = None) -> Outcome:
    """Nothing is ever verified."""
    out = Outcome()
    network = out.asked("capture", lambda: Network.capture(case.module, tuple(case.point.shape)))
    if isinstance(network, Network):
        for name, verdict in answers(network, case.region, methods(turn, small=True), out).items():
            if verdict.status == "verified":
                out.findings.append(("planted, yet verified", f"{name}: margin {verdict.margin}, broken at {case.point.tolist()}"))
    return out


def fooled(case: Case) -> tuple[Function, tuple[float, Tensor]]:
    """The module, its least margin in its own precision, and where."""
    function = evaluated(case.module)
    return function, broken(function, case.region, 0, 0, points_of(function, case.region, 0, 0, DENSE, case.seed))


def check_fooling(case: Case, turn: int | None = None) -> tuple[Outcome, bool]:
    """Nothing is verified that the module breaks in its own precision; and whether it does."""
    out = Outcome()
    function, worst = fooled(case)
    network = out.asked("capture", lambda: Network.capture(case.module, tuple(case.region.centre.shape[1:])))
    if isinstance(network, Network):
        judged = Judged(case.region, [0], function, [worst])
        for name, verdict in answers(network, case.region, methods(turn, small=True), out).items():
            judged.judge(name, [verdict], Silent(out))
    return out, worst[0] <= 0


class Silent(Outcome):
    """Findings go to another outcome, which has counted the verdicts already."""

    def __init__(self, other: Outcome) -> None:
        super().__init__(findings=other.findings)
