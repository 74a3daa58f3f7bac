"""One sample on its way up the ladder: what the steps said of it so far, and the verdict in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from epsball.verification.base import Evidence, Status, Verdict, Witness, found_by, proven_by
from epsball.verification.soundness import contradiction

if TYPE_CHECKING:
    import torch

    from epsball.verification.replay import Replayed

_NEAR = 0.02  # of the outputs: bounds of trained networks lose less than that to float32 (docs/explanation/rounding.md)


@dataclass(eq=False)
class Sample:
    """What is known of one sample.

    Attributes:
        arithmetic: what its bounds hold for.
        evidence: by step, in the order in which they were tried.
        status: None while it is open.
        by: the step that settled it.
        witness: what it settled it by.
        late: a step ran out of time.
        note: what went wrong first.
        scale: size of the network's outputs.
    """

    arithmetic: str
    evidence: dict[str, Evidence] = field(default_factory=dict)
    status: Status | None = None
    by: str = ""
    witness: Witness | None = None
    late: bool = False
    note: str = ""
    scale: float = 1.0

    def hear(self, evidence: Evidence) -> None:
        """What a step says. Heard again: its last bound counts, the least margin that it found, and the sum of its seconds."""
        name = evidence.method
        before = self.evidence.get(name, Evidence(name))
        found = [one.found for one in (before, evidence) if one.found is not None]
        self.evidence[name] = replace(
            evidence,
            found=min(found, default=None),
            exact=before.exact if evidence.exact is None else evidence.exact,
            seconds=before.seconds + evidence.seconds,
        )

    def settle(self, status: Status, by: str, witness: Witness | None = None) -> None:
        """The first step that answers names the verdict."""
        if self.open:
            self.status, self.by, self.witness = status, by, witness

    def see(self, heard: Evidence, replayed: Replayed, i: int, status: Status) -> None:
        """What a step says, with a point that it evaluated: its margin, and the verdict if it breaks the property."""
        self.hear(replace(heard, found=min(math.inf, float(replayed.margin[i]))))  # what is NaN was not found
        self.scale = max(self.scale, float(replayed.y[i].abs().max()))
        if bool(replayed.broken[i]):
            self.settle(status, heard.method, Witness(replayed.x[i].clone(), replayed.y[i].clone()))

    @property
    def open(self) -> bool:
        """Whether no step has settled it."""
        return self.status is None

    @property
    def nearly_proven(self) -> bool:
        """Whether it is open by no more than what rounding may have taken from its bounds."""
        return self.open and not self.late and self._best(-math.inf) > -_NEAR * self.scale

    def _best(self, nothing: float) -> float:
        """The largest bound, or this where there is none."""
        return max((m for m in proven_by(self.evidence.values()).values() if not math.isnan(m)), default=nothing)

    def verdict(self, dtype: torch.dtype) -> Verdict:
        """What is known in the end. A step that was not reached, or that failed, is never taken for an answer."""
        heard = tuple(self.evidence.values())
        wrong = contradiction(found_by(heard), proven_by(heard), dtype=dtype, scale=self.scale)
        left: Status = "timeout" if self.late else "error" if self.note else "unknown"
        return Verdict(
            status="error" if wrong else self.status or left,
            margin=self._best(math.nan),
            method=self.by or next(reversed(self.evidence), "none"),
            arithmetic=self.arithmetic,
            seconds=sum(one.seconds for one in heard),
            witness=self.witness,
            evidence=heard,
            note=wrong or self.note,
        )
