"""What a case is of, in words and numbers for a reader: they stand in the header, and nothing is compared with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epsball.problem.threat import Threat
from epsball.record.slices import sliced

if TYPE_CHECKING:
    from epsball.run.case import Case


def subject(case: Case) -> dict[str, Any]:
    """The architecture, its parameters, the threat as a formula, and which of the test examples were chosen."""
    network, data = case.network, case.data
    return {
        "architecture": case.architecture or type(network.module).__name__,
        "parameters": sum(p.numel() for p in network.module.parameters()),
        "input": list(network.input_shape),
        "classes": network.classes,
        "threat": _threat(case),
        "clip": None if data.clip is None else list(data.clip),
        "chosen": {"count": len(case.index), "of": len(data.test.y), "how": sliced(case.index.tolist())},
    }


def _threat(case: Case) -> str:
    if case.words is not None:
        return f"at most {case.eps:g} words of a sentence replaced by their synonyms"
    if case.threat is not None:
        return str(case.threat)
    return str(Threat(case.eps, case.norm, case.data.clip))
