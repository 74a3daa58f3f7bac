"""A data set by name, from wherever it lies on this machine. Nothing is ever fetched here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.data import stored
from epsball.data.base import Dataset, sources
from epsball.data.places import roots
from epsball.errors import BadConfig, BadFile, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path


def load(name: str) -> Dataset:
    """The data set of that name: a registered one, or one that the user added.

    Raises:
        BadConfig: no set has this name; the message names the nearest ones.
        BadFile: the set is not on this machine (the message has the command that fetches it), or a file of it is damaged.
        MissingExtra: the set comes with a package that is not installed.
    """
    if name not in sources:
        if name in stored.names():
            return stored.read(name)
        hint = did_you_mean(name, (*sources, *stored.names()))
        raise BadConfig(
            f"unknown data set {name!r}",
            fix=f"{hint or 'see'} epsball list data; your own: epsball data add {name} PATH",
        )
    source = sources[name]
    if not source.places:
        return source.load(None)
    folder = where(name)
    if folder is None:
        raise BadFile(
            f"the data set {name!r} is not on this machine",
            where="looked in " + ", ".join(map(str, roots())),
            fix=f"epsball data get {name}",
        )
    return source.load(folder)


def where(name: str) -> Path | None:
    """The first folder that has files of a registered set, or None.

    Raises:
        BadConfig: no registered set has this name.
    """
    source = sources[name]
    for root in roots():
        for place in source.places:
            if source.holds(root / place):
                return root / place
    return None
