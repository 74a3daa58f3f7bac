"""What is asked of the package for one case, and what counts as a finding.

A refusal by an `EpsballError` is an answer. A bare exception, a bound that a point leaves, a `verified` that a point of the exact
set breaks, a `falsified` without a witness in the exact set that the module misclassifies: each is a finding.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import torch
from tests.red.attack import HARD, LIGHT, QUICK, Effort, Function, broken, evaluated, margins, outputs_of, points_of
from tests.red.cases import Case
from tests.red.regions import Region
from torch import Tensor

import epsball
from epsball.bounding.base import bounders
from epsball.ops.network import Network
from epsball.problem.problem import Budget, Problem
from epsball.problem.property import robust
from epsball.verification.base import Verdict, verifiers
from epsball.verification.ladder import Ladder

ALLOWANCE = {torch.float32: 1e-5, torch.float64: 1e-9}  # of an elementwise bound, in proportion; a verdict has none
BARE = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
SECONDS = 5.0
SLOW = ("lp", "multi-neuron", "sdp")


@dataclass
class Outcome:
    """What came of one case."""

    findings: list[tuple[str, str]] = field(default_factory=list)  # (kind, detail)
    verdicts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    bounds: int = 0

    def asked(self, what: str, question: Callable[[], object]) -> object | None:
        """The answer, or None after a refusal (counted) or a bare exception (a finding)."""
        try:
            return question()
        except epsball.Unsound as error:
            self.findings.append(("Unsound raised", f"{what}: {one_line(error)}"))
        except epsball.EpsballError as error:
            self.refusals.append(f"{what.split(' ', maxsplit=1)[0]}: {type(error).__name__}: {reason(error)}")
        except BARE as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename.rsplit('/', 2)[-2]}/{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
            self.findings.append(("bare exception", f"{what}: {type(error).__name__}: {one_line(error)[:90]} ({where})"))
        return None


def one_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def reason(error: Exception) -> str:
    return re.sub(r"\d[\d.e+-]*", "#", one_line(error))[:90]


def check(case: Case, *, whole: bool = True) -> Outcome:
    """The questions to the package about a case: all of them, or bounds and the ladder with one of each kind by turns."""
    out = Outcome()
    shape = tuple(case.region.centre.shape[1:])
    network = out.asked("capture", lambda: Network.capture(case.module, shape, case.region.centre.dtype))
    if not isinstance(network, Network):
        return out
    function = evaluated(case.module)
    _bounds(case, network, function, out, whole=whole)
    tight = replace(case, region=_edge(case, function))
    _verdicts(tight, network, function, out, whole=whole)
    return out


def _bounds(case: Case, network: Network, function: Function, out: Outcome, *, whole: bool) -> None:
    """Every method's bounds against every point that was tried, sample by sample."""
    clouds = [points_of(function, case.region, i, int(y), HARD if whole else LIGHT, case.seed) for i, y in enumerate(case.labels)]
    reached = [outputs_of(function, cloud).double() for cloud in clouds]
    names = [name for name in bounders if whole or case.seed % 6 == 0 or not name.startswith("alpha")]
    for name in names:
        found = out.asked(f"bounds {name}", lambda name=name: epsball.bounds(network, case.region.epsball(), method=name))
        if not isinstance(found, epsball.Interval):
            continue
        lower, upper = found.lower.detach().double(), found.upper.detach().double()
        for i, z in enumerate(reached):
            out.bounds += 1
            problem = outside(z, lower[i], upper[i], ALLOWANCE[case.region.centre.dtype])
            if problem:
                out.findings.append(("bound broken", f"{name}, sample {i}: {problem}"))


def outside(outputs: Tensor, lower: Tensor, upper: Tensor, allowance: float) -> str:
    """The output that leaves its bounds by the most, in words, or nothing."""
    if lower.isnan().any() or upper.isnan().any():
        return "" if outputs.isnan().any() else "a bound is NaN where no output is"
    real = outputs[outputs.isfinite().all(1)]
    scale = real.abs().amax(0).clamp(min=1.0) if len(real) else torch.ones_like(lower)
    beyond = torch.maximum(lower - real, real - upper) - allowance * scale
    if not len(real) or beyond.max() <= 0:
        return ""
    at, k = divmod(int(beyond.argmax()), beyond.shape[1])
    return f"output {k} reaches {real[at, k]:.9g} outside [{lower[k]:.9g}, {upper[k]:.9g}]"


def _edge(case: Case, function: Function) -> Region:
    """The set scaled until one sample is just broken: where a wrong `verified` is nearest."""

    def breaks(factor: float) -> bool:
        region = case.region.scaled(factor)
        for i, y in enumerate(case.labels.tolist()):
            clean = margins(outputs_of(function, region.centre[i : i + 1]), int(y)).item()
            cloud = points_of(function, region, i, int(y), QUICK, case.seed)
            if clean > 0 and broken(function, region, i, int(y), cloud)[0] < 0:
                return True
        return False

    low = high = 1.0
    if breaks(1.0):
        while low > 1e-3 and breaks(low / 2):
            low, high = low / 2, low / 2
        low /= 2
    else:
        while high < 16 and not breaks(high):
            low, high = high, high * 2
        if high >= 16:
            return case.region
    for _ in range(4):
        middle = (low + high) / 2
        low, high = (low, middle) if breaks(middle) else (middle, high)
    return case.region.scaled(high * 1.01)


def _verdicts(case: Case, network: Network, function: Function, out: Outcome, *, whole: bool) -> None:
    """The default ladder, each bounder as a ladder of its own, each verifier and the certified radius."""
    judged = Judged.of(case, function, HARD if whole else QUICK)
    region, labels = case.region, case.labels
    ask: dict[str, Callable[[], object]] = {
        "verify": lambda: epsball.verify(network, region.epsball(), labels, timeout=4 * SECONDS)
    }
    prop = out.asked("property", lambda: robust(labels.long(), network.classes, region.centre.dtype))
    if isinstance(prop, epsball.Property):
        problem = Problem(network.prepare(), region.epsball(), prop)
        for at, name in enumerate(bounders):
            if whole or at == case.seed % len(bounders):
                ask[f"ladder {name}"] = lambda name=name: Ladder((name,))(problem, Budget(seconds=SECONDS))
        for at, name in enumerate(verifiers):
            turn = at == case.seed // 2 % len(verifiers)
            if turn or (whole and (name not in SLOW or case.seed % 3 == 0)):
                ask[f"verifier {name}"] = lambda name=name: verifiers[name]()(problem, Budget(seconds=SECONDS))
    for what, question in ask.items():
        verdicts = out.asked(what, question)
        if isinstance(verdicts, list):
            judged.judge(what, verdicts, out)
    if region.kind in ("linf", "l2") and (whole or case.seed % 4 == 0):
        _radius(case, network, function, out)


def _radius(case: Case, network: Network, function: Function, out: Outcome) -> None:
    method = list(bounders)[case.seed % len(bounders)]
    region, labels = case.region, case.labels
    asked = f"radius {method}"
    found = out.asked(
        asked,
        lambda: epsball.radius(
            network,
            region.centre,
            labels,
            norm=region.kind,
            clip=region.clip,
            method=method,
            high=2 * region.eps,
        ),
    )
    if not isinstance(found, Tensor):
        return
    for i, y in enumerate(labels.tolist()):
        if found[i] > 0:
            inner = replace(region, eps=float(found[i]) * (1 - 1e-6))
            worst, point = broken(function, inner, i, int(y), points_of(function, inner, i, int(y), QUICK, case.seed))
            if worst < 0:
                detail = f"{asked}, sample {i}: certified {found[i]:.9g}, broken by {worst:.3g} at {point.flatten().tolist()}"
                out.findings.append(("radius broken", detail))


@dataclass(frozen=True)
class Judged:
    """What the module itself does in the set: its least margin for each sample, and where."""

    region: Region
    labels: list[int]
    function: Function
    worst: list[tuple[float, Tensor]]

    @classmethod
    def of(cls, case: Case, function: Function, effort: Effort) -> Judged:
        labels = [int(y) for y in case.labels.tolist()]
        worst = []
        for i, y in enumerate(labels):
            cloud = points_of(function, case.region, i, y, effort, case.seed)
            worst.append(broken(function, case.region, i, y, cloud))
        return cls(case.region, labels, function, worst)

    def judge(self, what: str, verdicts: list[Verdict], out: Outcome) -> None:
        if len(verdicts) != len(self.labels):
            out.findings.append(("verdicts missing", f"{what}: {len(verdicts)} for {len(self.labels)} samples"))
            return
        for i, verdict in enumerate(verdicts):
            out.verdicts.append(f"{what.rsplit(' ', 1)[-1]}: {verdict.status}")
            for kind, detail in chain(self._proof(i, verdict), self._witness(i, verdict), self._numbers(i, verdict)):
                out.findings.append((kind, f"{what}, sample {i}: {detail}"))

    def _proof(self, i: int, verdict: Verdict) -> Iterator[tuple[str, str]]:
        margin, point = self.worst[i]
        if verdict.status == "verified" and margin <= 0:
            yield "verified is broken", f"margin {verdict.margin:.6g}, the module has {margin:.6g} at {point.flatten().tolist()}"
        if verdict.status == "verified" and not verdict.margin > 0:
            yield "verified without margin", f"margin {verdict.margin}"
        if verdict.status == "error" and re.match(r"(Type|Index|Runtime|Key|Value|Attribute|ZeroDivision)Error", verdict.note):
            yield "bare exception", f"in a verdict: {verdict.note.splitlines()[0][:120]}"

    def _witness(self, i: int, verdict: Verdict) -> Iterator[tuple[str, str]]:
        if verdict.status != "falsified":
            return
        if verdict.witness is None:
            yield "falsified without a witness", f"margin {verdict.margin}"
            return
        point = verdict.witness.x.reshape(self.region.centre.shape[1:]).to(self.region.centre.dtype)
        if not torch.equal(point.double(), verdict.witness.x.reshape(point.shape).double()):
            yield "witness in another type", str(verdict.witness.x.dtype)
        if not self.region.contains(i, point):
            yield "witness outside the exact set", f"{point.flatten().tolist()}"
        together = outputs_of(self.function, point.expand(max(2, len(self.labels)), *point.shape).contiguous())
        rows = torch.cat((outputs_of(self.function, point[None]), together))
        least = margins(rows, self.labels[i]).min().item()
        if least > 0:
            yield "witness is no counterexample", f"the module's margin is {least:.6g}"
        elif least == 0 and rows.shape[1] > 1 and bool((rows.argmax(1) == self.labels[i]).all()):
            yield "witness is a tie", "the module still answers the label"

    def _numbers(self, i: int, verdict: Verdict) -> Iterator[tuple[str, str]]:
        """Every proven margin lies below what was found, up to the allowance of an elementwise bound."""
        least = self.worst[i][0]
        if least == float("inf"):
            return
        allowance = ALLOWANCE[self.region.centre.dtype] * max(1.0, abs(least), self._scale(i))
        proven = {k: v for k, v in verdict.proven.items() if k in bounders or k in SLOW}
        if verdict.status == "verified":
            proven["margin"] = verdict.margin
        for name, value in proven.items():
            if value > least + allowance:
                yield "margin broken", f"{name} proves {value:.9g}, the module has {least:.9g}"

    def _scale(self, i: int) -> float:
        return float(outputs_of(self.function, self.worst[i][1][None]).double().abs().nan_to_num().max())
