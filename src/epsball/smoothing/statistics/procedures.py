"""How many samples to draw, and what may be said of them: fixed, staged and sequential procedures, by name.

Each answers two questions. "Is p above p_0?" (certify at a radius) gives a `Boundary`. "How large is p at least?" (largest radius)
gives a `Sequence` of bounds that hold together. Both carry a ledger: what was spent of alpha, and where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from epsball.errors import BadConfig
from epsball.proportion import check_alpha, lower_bound
from epsball.registry import Registry
from epsball.smoothing.statistics import binomial
from epsball.smoothing.statistics.boundary import Boundary, Counts

BLOCK = 128


@dataclass(frozen=True, eq=False)
class Threshold:
    """A boundary, and what it spends.

    Attributes:
        boundary: the rule.
        ledger: the parts of alpha, by name; their sum is at most alpha. Exact shares where the procedure is calibrated, else the
            shares that a union bound allots.
    """

    boundary: Boundary
    ledger: Mapping[str, float]


class Sequence(Protocol):
    """Bounds on the probabilities of the first class and of every other, that hold at all looks together."""

    @property
    def looks(self) -> Counts: ...
    @property
    def ledger(self) -> Mapping[str, float]: ...
    @property
    def tolerance(self) -> float:
        """Stop when more samples would gain less than this, in units of the noise's scale."""
        ...

    def bounds(self, look: int, first: int, other: int, /) -> tuple[float, float]:
        """(p_A from below, p_B from above) from the counts of the first class and of the largest other one."""
        ...


class Procedure(Protocol):
    """A frozen dataclass whose fields are its options."""

    def at(self, p: float, alpha: float) -> Threshold:
        """The rule for "is p_A above p?"."""
        ...

    def sequence(self, alpha: float) -> Sequence:
        """Bounds for the largest radius."""
        ...


procedures: Registry[type[Procedure]] = Registry("procedure", package="epsball.smoothing.statistics")


def ledger(**parts: float) -> Mapping[str, float]:
    """Parts of alpha by name, read-only."""
    return MappingProxyType(parts)


def check_looks(looks: Counts, name: str) -> Counts:
    """Looks that a stream can stop at; whole blocks of 128 waste nothing.

    Raises:
        BadConfig: fewer than one sample, or not increasing.
    """
    if len(looks) == 0 or looks[0] < 1 or np.any(np.diff(looks) < 1):
        raise BadConfig(f"{name}: numbers of samples must increase from at least 1, not {looks.tolist()}")
    return looks


@dataclass(frozen=True, eq=False)
class Tests:
    """Clopper-Pearson at a few looks, each at its own part of alpha (union bound)."""

    looks: Counts
    alpha: float
    tolerance: float = 0.0

    @property
    def ledger(self) -> Mapping[str, float]:
        return ledger(**{f"n={n}": self.alpha / len(self.looks) for n in self.looks.tolist()})

    def bounds(self, look: int, first: int, _other: int) -> tuple[float, float]:
        lower = lower_bound(first, int(self.looks[look]), self.alpha / len(self.looks))
        return lower, 1 - lower


@dataclass(frozen=True, eq=False)
class TwoSidedTest(Tests):
    """Both bounds at one look, each at alpha / 2."""

    def bounds(self, look: int, first: int, other: int) -> tuple[float, float]:
        return binomial.two_sided(first, other, int(self.looks[look]), self.alpha)


def least_certifying(trials: int, p: float, alpha: float) -> int:
    """The least count whose Clopper-Pearson bound is above p; trials + 1 if there is none."""
    low, high = -1, trials + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lower_bound(middle, trials, alpha) > p else (middle, high)
    return high


@procedures.register("fixed")
@dataclass(frozen=True)
class Fixed:
    """CERTIFY of Cohen et al.: always n samples, one Clopper-Pearson bound.

    Paper:   Cohen, Rosenfeld, Kolter 2019, arXiv:1902.02918.
    """

    n: int = 100_000
    one_look: ClassVar[type[Tests]] = Tests

    def __post_init__(self) -> None:
        check_looks(np.array([self.n]), repr(self))

    def at(self, p: float, alpha: float) -> Threshold:
        return clopper_pearson_threshold(np.array([self.n]), p, alpha)

    def sequence(self, alpha: float) -> Sequence:
        return self.one_look(np.array([self.n]), check_alpha(alpha))


@procedures.register("two-sided")
@dataclass(frozen=True)
class TwoSided(Fixed):
    """Always n samples, and a bound for the runner-up too: the only one that can certify where p_A is below one half."""

    one_look: ClassVar[type[Tests]] = TwoSidedTest

    def at(self, p: float, alpha: float) -> Threshold:
        raise BadConfig(
            f"the two-sided bound knows no single probability such as {p:.4g} to compare with (alpha {alpha})",
            fix="certify the largest radius, and compare it with the one you want",
        )


@procedures.register("staged")
@dataclass(frozen=True)
class Staged:
    """A few stages, each at an equal part of alpha; certify at the first success, give up when an upper bound says so.

    Attributes:
        stages: samples seen in all at each stage.
        give_up: error allowed in giving up: it costs power, never soundness.

    Paper:   Horváth et al. 2022, arXiv:2206.09698.  Differs: earlier samples are kept (the union bound allows it).
    """

    stages: tuple[int, ...] = (1024, 10_112, 125_056)
    give_up: float = 0.01

    def __post_init__(self) -> None:
        check_looks(np.array(self.stages), repr(self))
        check_alpha(self.give_up)

    def at(self, p: float, alpha: float) -> Threshold:
        threshold = clopper_pearson_threshold(np.array(self.stages), p, alpha)
        hopeless = [n - least_certifying(n, 1 - p, self.give_up) for n in self.stages]
        rule = threshold.boundary
        return Threshold(Boundary(p, rule.looks, rule.certify, np.array(hopeless)).without_lost(), threshold.ledger)

    def sequence(self, alpha: float) -> Sequence:
        return Tests(np.array(self.stages), check_alpha(alpha), tolerance=0.05)


def clopper_pearson_threshold(looks: Counts, p: float, alpha: float) -> Threshold:
    """Clopper-Pearson at every look, at equal parts of alpha, never giving up before the cap."""
    part = check_alpha(alpha) / len(looks)
    certify = np.array([least_certifying(n, p, part) for n in looks.tolist()])
    spent = {f"n={n}": part for n in looks.tolist()}
    return Threshold(Boundary(p, looks, certify, np.full(len(looks), -1)), MappingProxyType(spent))
