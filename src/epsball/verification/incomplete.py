"""One bound method as a verifier: verified where its margin is positive, else unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from epsball.bounding.base import Bounder, bounders, least_margins
from epsball.bounding.budget.within import Within
from epsball.device import exact_arithmetic
from epsball.errors import BadConfig
from epsball.problem.problem import Budget, Problem
from epsball.verification.base import Verdict, Verifier
from epsball.verification.guarded import Answer, guarded

if TYPE_CHECKING:
    from epsball.types import Float, Tensor


@dataclass(frozen=True)
class Incomplete(Verifier):
    """A sound bound: it proves, or it says nothing.

    Attributes:
        method: a key of `bounders`, or a bound method with options of its own.
        label: the name in verdicts; empty for the method's own.
        chunk: samples bounded together; the budget's seconds are looked at between chunks.

    Sound:   yes: a margin above 0 is a proof, in the arithmetic that the network covers.   Complete: no.
    Raises:  BadConfig for an unknown method; BadShape, UnsupportedOp. Anything else is the verdict "error" of its sample.
    """

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
        """What verdicts call it: the bound method's name, if it has no label."""
        return self.label or (self.method if isinstance(self.method, str) else bounders.name_of(type(self.method)))

    def __call__(self, problem: Problem, budget: Budget) -> list[Verdict]:
        """One verdict a sample; "timeout" for what the budget did not reach."""

        def decide(part: Problem, _: Budget) -> list[Answer]:
            method = bounders[self.method]() if isinstance(self.method, str) else self.method
            return [proof(margin) for margin in lower_margins(Within(method, budget), part).tolist()]

        return guarded(problem, budget, decide, name=self.name, chunk=self.chunk)


def proof(margin: float) -> Answer:
    """What a lower bound of the least margin says: above 0 it is a proof, else nothing."""
    return Answer("verified" if margin > 0 else "unknown", margin)


def lower_margins(method: Bounder, problem: Problem) -> Float[Tensor, " B"]:
    """The least proven value of `C y + d` of each sample, in the network's precision; NaN where any row is NaN."""
    network = problem.network
    input_set, prop = problem.input_set.to(network.dtype, network.device), problem.prop.to(network.dtype)
    with torch.no_grad(), exact_arithmetic():
        return least_margins(method, network, input_set, prop)
