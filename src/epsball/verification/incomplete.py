"""One bound method as a verifier: verified where its margin is positive, else unknown."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import torch

from epsball.bounding.base import Bounder, bounders, least_margins
from epsball.bounding.budget.within import Within
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig, EpsballError
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Status, Verdict, verifiers

if TYPE_CHECKING:
    from epsball.types import Float, Tensor


@dataclass(frozen=True)
class Incomplete:
    """A sound bound: it proves, or it says nothing.

    Attributes:
        method: a key of `bounders`, or a bound method with options of its own.
        label: the name in verdicts; empty for the method's own.
        chunk: samples bounded together; the budget's seconds are looked at between chunks.

    Sound:   yes: a margin above 0 is a proof, in the arithmetic that the network covers.   Complete: no.
    Raises:  BadConfig for an unknown method; BadShape, UnsupportedOp. Anything else is the verdict "error" of its chunk.
    """

    complete: ClassVar[bool] = False
    method: str | Bounder = "crown"
    label: str = ""
    chunk: int = 32

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            bounders[self.method]  # an unknown name fails here, not in the first batch
        if self.chunk < 1:
            raise BadConfig("a chunk holds at least 1 sample", where=repr(self), fix="give chunk=1 or more")

    @property
    def name(self) -> str:
        """What verdicts call this method."""
        return self.label or (self.method if isinstance(self.method, str) else bounders.name_of(type(self.method)))

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; "timeout" for what the budget did not reach."""
        began = time.monotonic()
        verdicts: list[Verdict] = []
        everyone = torch.arange(len(problem), device=problem.input_set.centre.device)
        for index in torch.split(everyone, self.chunk):
            if time.monotonic() - began >= budget.seconds:
                verdicts += [self._verdict(problem, "timeout", math.nan, 0.0)] * len(index)
            else:
                verdicts += self._chunk(problem.take(index), budget)
        return verdicts

    def _chunk(self, problem: Problem, budget: Budget) -> list[Verdict]:
        start = time.perf_counter()
        try:
            margins = lower_margins(self._bounder(budget), problem).tolist()
        except EpsballError:
            raise
        except Exception as error:  # noqa: BLE001 - one failed chunk is a verdict, the rest of a long run goes on
            failed = self._verdict(problem, "error", math.nan, (time.perf_counter() - start) / len(problem))
            return [replace(failed, note=told(error))] * len(problem)
        seconds = (time.perf_counter() - start) / len(problem)
        return [self._verdict(problem, "verified" if m > 0 else "unknown", m, seconds) for m in margins]

    def _bounder(self, budget: Budget) -> Bounder:
        method = bounders[self.method]() if isinstance(self.method, str) else self.method
        return Within(method, budget)

    def _verdict(self, problem: Problem, status: Status, margin: float, seconds: float) -> Verdict:
        stats = MappingProxyType({self.name: margin, f"{self.name}.seconds": seconds})
        return Verdict(status, margin, self.name, problem.network.arithmetic, seconds, stats=stats)


def lower_margins(method: Bounder, problem: Problem) -> Float[Tensor, " B"]:
    """The least proven value of `C y + d` of each sample, in the network's precision; NaN where any row is NaN."""
    network = problem.network
    input_set, prop = problem.input_set.to(network.dtype, network.device), problem.prop.to(network.dtype)
    with torch.no_grad(), exact_arithmetic():
        return least_margins(method, network, input_set, prop)


def told(error: Exception) -> str:
    """An unexpected error in one line, for a verdict's note."""
    return f"{type(error).__name__}: {(str(error).strip() or '(no message)').splitlines()[0]}"


@verifiers.register("ibp")
@dataclass(frozen=True)
class IbpVerifier(Incomplete):
    """Interval bound propagation (Gowal et al. 2018, arXiv:1810.12715)."""

    method: str | Bounder = "ibp"
    chunk: int = 256


@verifiers.register("crown-ibp")
@dataclass(frozen=True)
class CrownIbpVerifier(Incomplete):
    """CROWN with intermediate bounds from intervals (Zhang et al. 2020, arXiv:1906.06316)."""

    method: str | Bounder = "crown-ibp"
    chunk: int = 64


@verifiers.register("crown")
@dataclass(frozen=True)
class CrownVerifier(Incomplete):
    """CROWN at every neuron that intervals leave unstable (Zhang et al. 2018, arXiv:1811.00866)."""

    method: str | Bounder = "crown"
