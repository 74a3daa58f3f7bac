"""How a benchmark's command ends: an error of the project is one line and its exit code."""

from __future__ import annotations

from collections.abc import Callable

from epsball.errors import EpsballError


def ended(work: Callable[[], object]) -> int:
    """The exit code of the work."""
    try:
        work()
    except EpsballError as error:
        print(f"{type(error).__name__}: {error}")
        return error.exit_code
    return 0
