"""Which operators each method bounds: what the operators' factories are declared to make, and what methods say they take."""

from __future__ import annotations

from typing import Literal, get_args, get_type_hints

from epsball.ops.elementwise import relaxations
from epsball.ops.operator import Operator, operators
from epsball.verification.base import Verifier
from epsball.verification.rungs import named_steps, verifier

Covered = Literal["yes", "no", "affine"]  # "affine": where all but one argument are constant


def kinds(name: str) -> tuple[type[Operator], ...]:
    """The classes that the factory of an operator is declared to make: the class of an elementwise one, else Affine or Nonlinear.

    A plugin's factory that declares nothing may make either.
    """
    if name in relaxations:
        return (relaxations[name],)
    made = get_type_hints(operators[name]).get("return", Operator)
    return get_args(made) or (made,)


def coverage() -> dict[str, dict[str, Covered]]:
    """For every registered operator and every step of a ladder that bounds: whether it covers it."""
    steps = {name: verifier(name) for name in named_steps()}
    return {name: {key: _covered(step, name) for key, step in steps.items()} for name in operators}


def _covered(step: Verifier, name: str) -> Covered:
    found = [step.covers(kind) for kind in kinds(name)]
    return "yes" if all(found) else "affine" if any(found) else "no"
