"""The largest certified radius of test examples, by several methods side by side, and the largest non-uniform box."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from epsball.bounding.budget.within import Within
from epsball.bounding.radius.by_name import Measure, Search, radius_by
from epsball.bounding.radius.region import NonUniform, Region
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig
from epsball.problem.problem import Budget
from epsball.problem.property import Property, robust
from epsball.problem.sets import LpBall, Norm
from epsball.record.continued import continued
from epsball.record.lines import RadiusLine, SummaryLine
from epsball.record.lines.analyses import CertifiedBox
from epsball.record.lines.summary import BoxGain, MethodRadii
from epsball.record.origin import described
from epsball.record.rates import rate
from epsball.run.case import headline
from epsball.run.track import unheard
from epsball.types import Tensor
from epsball.verification.doubts import warn_near_chance

if TYPE_CHECKING:
    from pathlib import Path

    from epsball.run.case import Case

_TOGETHER = 16  # examples whose lines appear together
_GRADIENT = 4  # copies of a bound's tensors that its gradient keeps
_PICTURES = 12  # boxes that are recorded with their input
_DIGITS = 1e7
_TINY = 1e-6  # a radius at which every bound is cheap


@dataclass(frozen=True)
class Radii:
    """What is measured around each example.

    Attributes:
        methods: of `epsball.bounding.radius.by_name.methods()`.
        steps: halvings of a search.
        box: also the non-uniform box; its valid range and largest radius are those of the case. None: no.
        budget: its bytes count.

    Raises:
        BadConfig: no method, or one that is named twice.
    """

    methods: tuple[str, ...] = ("crown",)
    steps: int = 20
    box: NonUniform | None = None
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise BadConfig("each method once, and at least one", where="--method", fix="name them with commas: crown,envelope")

    def measures(self, case: Case) -> dict[str, Measure]:
        """One a method; the largest radius is the case's eps.

        Raises:
            BadConfig: an unknown method, a norm without radii, no largest radius, no steps, or a box of another norm than linf.
        """
        search = Search(case.eps, cast("Norm", case.norm), case.data.clip, self.steps, self.budget)
        if self.box is not None and case.norm != "linf":
            raise BadConfig(f"a box is no ball of {case.norm}", where="--box", fix="leave --norm out, or --box")
        return {name: radius_by(name, search) for name in self.methods}

    def boxes(self, case: Case, x: Tensor, prop: Property) -> Region | None:
        """The non-uniform boxes of some inputs, in parts that fit the budget; None if they were not asked for."""
        if self.box is None or not len(x):
            return None
        network, ball = case.network.prepare(case.dtype), LpBall(x, case.eps, "linf", case.data.clip)
        method, size = Within(self.box.method, self.budget).cut(network, ball, len(prop.C))
        own = replace(self.box, method=method, clip=case.data.clip, high=case.eps)
        parts = torch.split(torch.arange(len(x), device=x.device), max(1, size // _GRADIENT))
        found = [own(network, x[part], prop.take(part)) for part in parts]
        return Region(torch.cat([region.radius for region in found]), torch.cat([region.uniform for region in found]))

    def described(self) -> dict[str, Any]:
        """For the record."""
        box = {} if self.box is None else {"box": described(self.box)}
        return {"methods": list(self.methods), "steps": self.steps, **box}


def analyse(
    case: Case, radii: Radii, path: Path | None, progress: Callable[[int, int], None] = unheard
) -> tuple[SummaryLine, list[RadiusLine]]:
    """The radii of every example of a case, recorded as they are found if there is a folder for it.

    Args:
        case: network and examples; its norm is linf or l2, and its eps the largest radius that is tried.
        radii: what is measured.
        path: of the run folder, or None.
        progress: called with the number of examples done so far and in all.

    Returns:
        The summary line, and the lines of the examples.

    Raises:
        BadConfig: as of `Radii.measures`; a budget that does not hold one row; the folder holds something else.
        UnsupportedOp: a method has no rule for an operator of the network.
        RunInUse, DiskFull: what was recorded before is whole.
    """
    _try(case, radii)
    with continued(path, case.heading("radius", case.described(**radii.described()))) as record:
        for part in torch.split(case.index, _TOGETHER):
            record.append(*_lines(case, radii, part, _PICTURES - len(record.lines)))
            progress(len(record.lines), len(case.index))
        found = record.of(RadiusLine)
        summary = _summary(case, radii, found)
        record.append(summary)
    warn_near_chance(sum(line.status != "misclassified" for line in found), len(found), case.network.classes)
    return summary, found


def _try(case: Case, radii: Radii) -> None:
    """Every method at one example and a tiny radius: what it cannot do fails here, before a folder is made."""
    radii.measures(case)
    box = None if radii.box is None else replace(radii.box, steps=1, search=1)
    x, _, predicted = _judged(case, case.index[:1])
    _measured(replace(case, eps=_TINY), replace(radii, steps=1, box=box), x, predicted)


def _judged(case: Case, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, labels and predicted classes."""
    x, y = case.data.test.inputs(index).to(case.device, case.dtype), case.data.test.y[index].to(case.device)
    with torch.no_grad(), exact_arithmetic():
        return x, y, case.network.prepare(case.dtype).forward(x).argmax(1)


def _measured(case: Case, radii: Radii, x: Tensor, y: Tensor) -> tuple[dict[str, list[float]], dict[str, float], Region | None]:
    """Radii by method of inputs that are classified as y, seconds of each method for one of them, and their boxes."""
    found, seconds = dict[str, list[float]](), dict[str, float]()
    prop, network = robust(y, case.network.classes, case.dtype), case.network.prepare(case.dtype)
    with exact_arithmetic():
        for name, measure in radii.measures(case).items():
            start = time.perf_counter()
            found[name] = measure(network, x, prop).tolist() if len(x) else []
            seconds[name] = round((time.perf_counter() - start) / max(1, len(x)), 6)
        return found, seconds, radii.boxes(case, x, prop)


def _lines(case: Case, radii: Radii, index: Tensor, pictures: int) -> Iterator[RadiusLine]:
    """One line an example; the first so many with the input of their box."""
    x, y, predicted = _judged(case, index)
    right = (predicted == y).nonzero()[:, 0]
    found, seconds, region = _measured(case, radii, x[right], y[right])
    place = {int(i): at for at, i in enumerate(right)}
    for i, number in enumerate(index.tolist()):
        at = place.get(i)
        box = {}
        if region is not None and at is not None:
            box = {"box": _box(region, at, [round(v, 5) for v in x[i].flatten().tolist()] if i < pictures else None)}
        yield RadiusLine(
            index=number,
            label=int(y[i]),
            predicted=int(predicted[i]),
            status="misclassified" if at is None else "done",
            radii={name: 0.0 if at is None else values[at] for name, values in found.items()},
            seconds={name: 0.0 if at is None else spent for name, spent in seconds.items()},
            **box,
        )


def _box(region: Region, at: int, x: list[float] | None) -> CertifiedBox:
    radius, uniform = region.radius[at].double().cpu(), float(region.uniform[at])
    return CertifiedBox(
        uniform=uniform,
        gain=float(region.gain[at]) if uniform > 0 else None,
        narrowest=float(radius.min()),
        widest=float(radius.max()),
        shape=list(radius.shape),
        radius=[math.floor(r * _DIGITS) / _DIGITS for r in radius.flatten().tolist()],  # a smaller box is proven, too
        **({} if x is None else {"x": x}),
    )


def _summary(case: Case, radii: Radii, lines: list[RadiusLine]) -> SummaryLine:
    """Means over all examples, of which those that are misclassified count 0."""
    count, right = len(lines), [line for line in lines if line.status == "done"]
    gains = [line.box.gain for line in right if line.box is not None and line.box.gain is not None]
    box = BoxGain(count=len(gains), gain=sum(gains) / len(gains) if gains else None)
    told = headline(case) | ({} if radii.box is None else {"box": box})
    return SummaryLine(
        verb="radius",
        count=count,
        misclassified=count - len(right),
        accuracy={"clean": rate(len(right), count)},
        methods={name: _of(name, lines, case.eps) for name in radii.methods},
        high=told.pop("eps"),
        **told,
    )


def _of(name: str, lines: list[RadiusLine], high: float) -> MethodRadii:
    """What a summary says of one method: `proven` counts radii above 0, `reach` those that the largest one tried cut short."""
    values = [line.radii[name] for line in lines]
    return MethodRadii(
        mean=statistics.fmean(values),
        median=statistics.median(values),
        proven=sum(value > 0 for value in values),
        reach=sum(value >= high for value in values),
        seconds=sum(line.seconds[name] for line in lines),
    )
