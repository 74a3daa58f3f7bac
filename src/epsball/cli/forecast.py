"""What a run will take, shown before it: the estimate of `--dry-run`, and the notice before a long run."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epsball.cli.common import Output
from epsball.errors import BadConfig

if TYPE_CHECKING:
    from epsball.bounding.base import Bounder
    from epsball.bounding.budget.within import Cost
    from epsball.problem.problem import Budget
    from epsball.run.case import Case

Memory = Annotated[str, typer.Option("--memory", help="Memory for bounds, such as 2GiB, 500MB or a number of bytes.")]
LONG = 60.0  # seconds from which a run is announced
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SAMPLES = 32  # on which an estimate is made


@dataclass(frozen=True)
class Limits:
    """Memory for bounds, and whether only to say what a run would take."""

    memory: Memory = "2GiB"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the run would take, and do nothing.")] = False

    def budget(self, seconds: float = math.inf) -> Budget:
        """With so many seconds for one instance.

        Raises:
            BadConfig: not an amount of memory, or no time.
        """
        from epsball.problem.problem import Budget

        return Budget(seconds=seconds, bytes=memory(self.memory))

    def told(self, output: Output, case: Case, methods: Mapping[str, Bounder], budget: Budget, *, rows: int, title: str) -> bool:
        """Announce a run that may be long. True if the estimate is all that was asked for: it has been shown."""
        costs = forecast(case, methods, budget, rows)
        if self.dry_run:
            output.result("forecast", {"count": len(case.index), "budget_bytes": budget.bytes, "methods": costs})
            show(output, title, costs)
            return True
        announce(output, costs)
        return False


def memory(text: str) -> int:
    """Bytes from "2GiB", "500MB" or "4096".

    Raises:
        BadConfig: not an amount of memory.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    count = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()] if found else 0.0
    if count < 1:
        raise BadConfig(f"{text!r} is no amount of memory", where="--memory", fix="give 2GiB, 500MB or a number of bytes")
    return int(count)


def forecast(case: Case, methods: Mapping[str, Bounder], budget: Budget, rows: int) -> list[dict[str, Any]]:
    """One line a method: what it takes on all examples of a case, if each of them reaches it."""
    import torch

    from epsball.bounding.budget.within import estimate

    network, count = case.network.prepare(case.dtype), len(case.index)
    some = case.index[:_SAMPLES]
    x = case.data.test.inputs(some).to(case.device, case.dtype)
    ball, share = case.ball(x, some), count / len(x)
    with torch.no_grad():
        seconds = min(_timed(network.forward, x[:1]) for _ in range(3))
        costs = {name: estimate(network, ball, method, rows=rows, budget=budget) for name, method in methods.items()}
    return [_line(name, cost, share, seconds) for name, cost in costs.items()]


def _timed(function: Any, x: Any) -> float:
    start = time.perf_counter()
    function(x)
    return time.perf_counter() - start


def _line(name: str, cost: Cost, share: float, forward: float) -> dict[str, Any]:
    return {
        "method": name,
        "bytes": cost.bytes,
        "least_bytes": cost.least,
        "samples_at_once": cost.samples,
        "rows": round(cost.rows * share),
        "forward_passes": round(cost.passes * share, 1),
        "seconds": round(cost.passes * share * forward, 3),
    }


def show(output: Output, title: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """The estimate as a table."""
    from epsball.bounding.budget.cost import readable

    columns = ("method", "memory", "at once", "rows", "forward passes", "seconds (about)")
    rows = [
        (
            line["method"],
            readable(line["bytes"]),
            str(line["samples_at_once"]),
            f"{line['rows']:,}",
            f"{line['forward_passes']:,.0f}",
            f"{line['seconds']:.3g}",
        )
        for line in lines
    ]
    output.table(title, columns, rows)


def announce(output: Output, lines: Sequence[Mapping[str, Any]]) -> None:
    """A notice on the error stream, where a run may be long."""
    from epsball.bounding.budget.cost import readable

    seconds = sum(line["seconds"] for line in lines)
    if seconds >= LONG:
        most = max(line["bytes"] for line in lines)
        each = ", ".join(f"{line['method']} {line['seconds']:.0f} s" for line in lines)
        output.say(f"estimate, if every example reaches every step: about {seconds:.0f} s ({each}) within {readable(most)}")
