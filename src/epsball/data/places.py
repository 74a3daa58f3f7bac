"""Where data may lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "EPSBALL_DATA"


def cache() -> Path:
    """The user's own cache: one folder a set."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "epsball" / "data"


def roots() -> tuple[Path, ...]:
    """Folders that are searched for a set, in order, whether they exist or not.

    `EPSBALL_DATA`; `../shared/data` beside the current directory and beside the checkout this package runs from; the cache.
    """
    checkout = Path(__file__).resolve().parents[3]
    found = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    found.append(Path.cwd().parent / "shared" / "data")
    if (checkout / "pyproject.toml").is_file():
        found.append(checkout.parent / "shared" / "data")
    return tuple(dict.fromkeys([*found, cache()]))
