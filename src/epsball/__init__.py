"""Robust training and certification of neural networks: attack, verify, train and report over perturbation balls.

    verified accuracy  <=  true robust accuracy  <=  attacked accuracy

Public names are imported when they are first used, so that `import epsball` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epsball.api import attack as attack
    from epsball.api import bounds as bounds
    from epsball.api import load as load
    from epsball.api import load_data as load_data
    from epsball.api import radius as radius
    from epsball.api import smooth as smooth
    from epsball.api import train as train
    from epsball.api import verify as verify
    from epsball.attacks.fgsm import FGSM as FGSM
    from epsball.attacks.pgd import PGD as PGD
    from epsball.bounding.linear.alpha import AlphaCrown as AlphaCrown
    from epsball.bounding.linear.crown import Crown as Crown
    from epsball.config import load_threat as load_threat
    from epsball.errors import EpsballError as EpsballError
    from epsball.errors import Unsound as Unsound
    from epsball.forms.interval import Interval as Interval
    from epsball.ops.network import Network as Network
    from epsball.problem.change import Change as Change
    from epsball.problem.columns import Column as Column
    from epsball.problem.columns import Columns as Columns
    from epsball.problem.problem import Budget as Budget
    from epsball.problem.problem import Problem as Problem
    from epsball.problem.property import Property as Property
    from epsball.problem.sets import Box as Box
    from epsball.problem.sets import LpBall as LpBall
    from epsball.problem.sets import Patch as Patch
    from epsball.problem.sets import Polytope as Polytope
    from epsball.problem.sets import Product as Product
    from epsball.problem.sets import Tabular as Tabular
    from epsball.problem.sets import Transformed as Transformed
    from epsball.problem.sets import WordSubstitution as WordSubstitution
    from epsball.problem.threat import Threat as Threat
    from epsball.recorded import Record as Record
    from epsball.training.recipes.fast_ibp import FastIbp as FastIbp
    from epsball.verification.base import Verdict as Verdict
    from epsball.verification.divided import Cells as Cells
    from epsball.verification.ladder import Ladder as Ladder

_WHERE = {
    "load": "epsball.api",
    "attack": "epsball.api",
    "bounds": "epsball.api",
    "verify": "epsball.api",
    "radius": "epsball.api",
    "train": "epsball.api",
    "smooth": "epsball.api",
    "load_data": "epsball.api",
    "load_threat": "epsball.config",
    "Record": "epsball.recorded",
    "Threat": "epsball.problem.threat",
    "Change": "epsball.problem.change",
    "Column": "epsball.problem.columns",
    "Columns": "epsball.problem.columns",
    "Tabular": "epsball.problem.sets",
    "Patch": "epsball.problem.sets",
    "Polytope": "epsball.problem.sets",
    "Product": "epsball.problem.sets",
    "WordSubstitution": "epsball.problem.sets",
    "Transformed": "epsball.problem.sets",
    "Budget": "epsball.problem.problem",
    "Problem": "epsball.problem.problem",
    "Ladder": "epsball.verification.ladder",
    "Cells": "epsball.verification.divided",
    "PGD": "epsball.attacks.pgd",
    "FGSM": "epsball.attacks.fgsm",
    "Crown": "epsball.bounding.linear.crown",
    "AlphaCrown": "epsball.bounding.linear.alpha",
    "FastIbp": "epsball.training.recipes.fast_ibp",
    "Box": "epsball.problem.sets",
    "LpBall": "epsball.problem.sets",
    "Property": "epsball.problem.property",
    "Network": "epsball.ops.network",
    "Interval": "epsball.forms.interval",
    "Verdict": "epsball.verification.base",
    "EpsballError": "epsball.errors",
    "Unsound": "epsball.errors",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("epsball")
    if name not in _WHERE:
        from epsball.errors import did_you_mean

        raise AttributeError(f"module 'epsball' has no attribute {name!r} {did_you_mean(name, _WHERE)}".rstrip())
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*_WHERE, "__version__"])
