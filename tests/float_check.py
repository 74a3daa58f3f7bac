"""Every bound of one network against every evaluation of it: no allowance at all. What the test and the benchmark share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from tests.float_nets import OUTPUTS, Case, case

from epsball.bounding.base import bounders
from epsball.bounding.linear.alpha import AlphaCrown, AlphaCrownAll
from epsball.forms.rows import Rows
from epsball.graph.capture import capture
from epsball.ops.network import Network
from epsball.ops.plan import plan
from epsball.ops.prepared import Prepared
from epsball.problem.sets import Box

METHODS = {name: method() for name, method in bounders.items()}
METHODS |= {"alpha-crown": AlphaCrown(steps=3), "alpha-crown-all": AlphaCrownAll(steps=2)}
FORMS = np.concatenate((np.eye(OUTPUTS), -np.eye(OUTPUTS), np.array([[1, -1, 0], [0, 1, -1], [-1, 0, 1]]))).astype(int)


@dataclass
class Tally:
    """What was compared, and what lay outside."""

    networks: int = 0
    evaluations: int = 0
    bounds: int = 0
    outside: list[str] = field(default_factory=list)

    def join(self, other: Tally) -> None:
        """Add another one's counts."""
        self.networks += other.networks
        self.evaluations += other.evaluations
        self.bounds += other.bounds
        self.outside += other.outside


def least(values: np.ndarray) -> list[list[Fraction]]:
    """The exact least value of each form at each box, of evaluations (B, E, K)."""
    found = [[[Fraction(v) if isinstance(v, Fraction) else Fraction(float(v)) for v in y] for y in box] for box in values]
    pairs = [[(int(c), k) for k, c in enumerate(form) if c] for form in FORMS]
    return [[min(sum(c * y[k] for c, k in pair) for y in box) for box in found] for pair in pairs]


def captured(tried: Case) -> Network:
    """The network, without the comparison in floats that `Network.capture` makes: rounding is not small here."""
    return Network(tried.module, plan(capture(tried.module, tried.network.shape)))


def reached(tried: Case, seed: int) -> tuple[list[list[Fraction]], int]:
    """The least value of each form at each box in any order, and the number of evaluations."""
    outputs = tried.outputs(np.random.default_rng(seed))
    if not all(np.isfinite(y).all() for y in outputs.values()):
        raise ValueError(f"seed {seed} overflows")
    whole = np.concatenate(list(outputs.values()), 1)
    return least(whole), whole.shape[0] * whole.shape[1]


def compare(seed: int, dtype: type) -> tuple[str, Tally]:
    """Family and tally of one network: every method, in both precisions, for the module and for real numbers."""
    tried, tally = case(seed, dtype), Tally(1)
    network, exact = captured(tried), tried.exact()
    floats, tally.evaluations = reached(tried, seed)
    rationals = None if exact is None else least(exact)
    for own in (torch.float32, torch.float64):
        hold(tried, network.prepare(own), floats, f"seed {seed}, for the module", tally)
        if rationals is not None:
            hold(tried, network.prepare(own, "real"), rationals, f"seed {seed}, for real numbers", tally)
    return tried.family, tally


def hold(tried: Case, network: Prepared, values: list[list[Fraction]], what: str, tally: Tally) -> None:
    """No method's bound lies above the least value that was reached."""
    box = Box(torch.from_numpy(tried.centre), torch.from_numpy(tried.radii.astype(np.float64))).to(network.dtype, network.device)
    rows = Rows(torch.from_numpy(FORMS).to(network.dtype)[:, None].expand(-1, len(tried.centre), -1))
    for name, method in METHODS.items():
        with torch.no_grad():
            bounds = method(network, box, rows).double()
        for form, boxes in enumerate(bounds.tolist()):
            for place, bound in enumerate(boxes):
                tally.bounds += 1
                if math.isnan(bound) or (math.isfinite(bound) and Fraction(bound) > values[form][place]):
                    far = float(Fraction(bound) - values[form][place]) if math.isfinite(bound) else math.nan
                    where = f"{what} ({tried.family}, {tried.centre.dtype}): {name} in {network.dtype}"
                    tally.outside.append(f"{where}, form {form}, box {place}: {bound!r} is too high by {far:.3g}")
