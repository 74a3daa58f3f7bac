"""Published settings: one TOML file each, named by paper and setting, as they are given to `epsball train`."""

from __future__ import annotations

from importlib.resources import files

from epsball.errors import BadConfig, did_you_mean

_SUFFIX = ".toml"


def names() -> list[str]:
    """Every setting's name, in order."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in files(__name__).iterdir() if entry.name.endswith(_SUFFIX))


def text(name: str) -> str:
    """The TOML text of a setting: its comment says which paper, and what was published.

    Raises:
        BadConfig: no setting has this name.
    """
    if name not in names():
        hint = did_you_mean(name, names())
        raise BadConfig(f"unknown setting {name!r}", fix=hint or f"use {', '.join(names())}")
    return files(__name__).joinpath(name + _SUFFIX).read_text("utf-8")
