"""`epsball analyse radius`: how far around each example a network is proven not to change its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from epsball.cli.common import Output
from epsball.cli.forecast import Memory, memory
from epsball.cli.spread import defaults
from epsball.cli.target import Opening, Record, TargetExamples
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.record.lines import RadiusLine, SummaryLine
    from epsball.run.case import Case


@dataclass(frozen=True)
class Growing(TargetExamples):
    """A network, and balls around test examples that are tried up to a largest one."""

    norm: Annotated[str, typer.Option("--norm", help="linf or l2.")] = "linf"
    high: Annotated[
        str | None,
        typer.Option("--high", help="Largest radius tried; default: the width of the valid range, for l2 its diagonal."),
    ] = None

    @property
    def size_option(self) -> str:
        """The largest radius."""
        return "--high"

    @property
    def around(self) -> tuple[str, str]:
        """Norm and largest radius.

        Raises:
            BadConfig: another norm.
        """
        if self.norm not in ("linf", "l2"):
            raise BadConfig(f"no certified radius for {self.norm!r}", where="--norm", fix="use linf or l2")
        return self.norm, self.high or self._widest()

    def _widest(self) -> str:
        from epsball.bounding.radius.by_name import widest
        from epsball.data.find import load

        found = load(self.data)
        return repr(widest(self.norm, found.clip, math.prod(found.test.shape)))


def radius(  # noqa: PLR0913 - one parameter an option
    target: Annotated[Growing, defaults(index=":10")],
    *,
    method: Annotated[
        str, typer.Option("--method", help="Bounders, envelope, lipschitz, lipschitz-local; several with commas: crown,envelope.")
    ] = "crown",
    steps: Annotated[int, typer.Option("--steps", help="Halvings of a bisection.")] = 20,
    box: Annotated[bool, typer.Option("--box", help="Also the largest box with a radius of its own for each input.")] = False,
    memory_: Memory = "2GiB",
    out: Record = None,
    setup: Opening,
    output: Output,
) -> None:
    """Certify the largest radius around each example, by one method or by several side by side."""
    from epsball.analysis.radius import Radii, analyse
    from epsball.bounding.radius.region import NonUniform
    from epsball.problem.problem import Budget

    names = tuple(part.strip() for part in method.split(","))
    radii = Radii(names, steps, NonUniform() if box else None, Budget(bytes=memory(memory_)))
    case = target.case(setup)
    with output.progress("bounding") as told:
        summary, lines = analyse(case, radii, out, told)
    body = {"radii": [line.written() for line in lines], "summary": summary.written()}
    output.result("radius", {"run": str(out) if out else None, **body})
    _show(output, case, summary, lines)


def _show(output: Output, case: Case, summary: SummaryLine, lines: list[RadiusLine]) -> None:
    names, boxed = list(summary.methods), summary.box is not None
    rows = [_row(line, names, boxed=boxed) for line in lines]
    columns = ("example", "label", *names, *(("box gain",) if boxed else ()))
    output.table(f"{case.model}  {case.norm}: certified radii, at most {case.eps:.6g}", columns, rows)
    for name, found in summary.methods.items():
        reach = f"; {found.reach} reach --high, and a larger one may reach further" if found.reach else ""
        each = (found.seconds or 0.0) / max(1, (summary.count or 0) - (summary.misclassified or 0))
        output.text(f"{name}: mean {found.mean:.5g}, median {found.median:.5g}, {each:.3f} s an example{reach}.")
    if summary.box is not None and summary.box.gain is not None:
        gain = f"{100 * summary.box.gain:.1f} %"
        output.text(f"boxes: mean gain {gain} in geometric-mean width over the uniform box by same-slope CROWN.")
    if summary.misclassified:
        output.text(f"{summary.misclassified} of {summary.count} are misclassified as they are; they count 0 in the means.")


def _row(line: RadiusLine, names: list[str], *, boxed: bool) -> tuple[str, ...]:
    if line.status == "misclassified":
        return str(line.index), f"{line.label}: taken for {line.predicted}", *("-",) * (len(names) + boxed)
    radii = [f"{line.radii[name]:.4g}" for name in names]
    gain = None if line.box is None else line.box.gain
    return str(line.index), str(line.label), *radii, *((_gain(gain),) if boxed else ())


def _gain(gain: float | None) -> str:
    return "-" if gain is None else f"{100 * gain:.1f} %"
