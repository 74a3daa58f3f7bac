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
    from epsball.errors import EpsballError as EpsballError
    from epsball.errors import Unsound as Unsound
    from epsball.forms.interval import Interval as Interval
    from epsball.ops.network import Network as Network
    from epsball.problem.property import Property as Property
    from epsball.problem.sets import Box as Box
    from epsball.problem.sets import LpBall as LpBall
    from epsball.verification.base import Verdict as Verdict

_WHERE = {
    "load": "epsball.api",
    "attack": "epsball.api",
    "bounds": "epsball.api",
    "verify": "epsball.api",
    "radius": "epsball.api",
    "train": "epsball.api",
    "smooth": "epsball.api",
    "load_data": "epsball.api",
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
