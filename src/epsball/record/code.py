"""Which code is running: the version, the commit where it runs from a checkout, and a hash of its sources."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_PATIENCE = 10  # seconds for git


def code(*more: Path) -> dict[str, Any]:
    """What a header says of the code.

    Args:
        *more: further source files that results depend on, such as a benchmark's own.

    Returns:
        `version` of the package; `commit`, or None outside a checkout; `changed`: whether the checkout's sources differ from that
        commit; `sources`: SHA-256 of every source file. Two runs are of the same code where `sources` is the same.
    """
    return {**_package(), "sources": _sources(more)}


def named(found: dict[str, Any]) -> str:
    """The code in a few words."""
    commit = "" if found["commit"] is None else f" at {found['commit'][:10]}{' with changes' if found['changed'] else ''}"
    return f"{found['version']}{commit} (sources {found['sources'][:12]})"


@cache
def _package() -> dict[str, Any]:
    folder = _PACKAGE
    # only where .git is beside src is the commit this package's own, and not that of a folder around an installed one
    told = _described(folder) if (folder.parents[1] / ".git").exists() else ""
    commit, _, dirty = told.partition("-")
    return {"version": version("epsball"), "commit": commit or None, "changed": bool(dirty) if commit else None}


def _described(folder: Path) -> str:
    """The commit, and "-dirty" after it; empty where git is not installed, or does not trust the checkout."""
    try:
        done = subprocess.run(
            ["/usr/bin/env", "git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=_PATIENCE, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache
def _sources(more: tuple[Path, ...]) -> str:
    folder = _PACKAGE
    total = hashlib.sha256()
    for name, path in (*((str(p.relative_to(folder)), p) for p in sorted(folder.rglob("*.py"))), *((p.name, p) for p in more)):
        body = path.read_bytes()
        total.update(f"{name} {len(body)};".encode())
        total.update(body)
    return total.hexdigest()
