"""Errors that say what happened, where, and how to mend it.

Exit codes of the command line: 2 for what the caller can mend in the call (a wrong shape, an unknown option, an
unreadable file), 3 for what went wrong while running (a full disk, a run folder in use, a broken inequality).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class EpsballError(Exception):
    """The base of every error this package raises on purpose.

    Attributes:
        what: what happened, in one sentence.
        where: the place in the user's own terms (a file and line, an option, a node of the network).
        fix: what to do about it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        lines = [what]
        if where:
            lines.append(f"  at  {where}")
        if fix:
            lines.append(f"  Fix: {fix}")
        super().__init__("\n".join(lines))


class BadConfig(EpsballError):
    """An option, a name or a configuration value that cannot be used."""


class BadShape(EpsballError):
    """A tensor whose shape does not fit."""


class BadData(EpsballError):
    """Values that cannot be used: NaN, labels out of range, inputs outside the valid range."""


class BadFile(EpsballError):
    """A file that is missing, truncated, foreign or malformed."""


class BadCapture(EpsballError):
    """A network that cannot be turned into a graph of per-sample operations."""


class UnsupportedOp(EpsballError):
    """An operator without a bound rule."""


class MissingExtra(EpsballError):
    """An optional dependency that is not installed."""


class RunInUse(EpsballError):
    """A second process wants to write to a run folder."""

    exit_code: ClassVar[int] = 3


class DiskFull(EpsballError):
    """A record or checkpoint could not be written; what was written before is whole."""

    exit_code: ClassVar[int] = 3


class Unsound(EpsballError):
    """An attack beat a proof: a defect of this package, never a property of the network."""

    exit_code: ClassVar[int] = 3


class EpsballWarning(UserWarning):
    """The base of every warning of this package: no error, and no answer is false, but it is seldom what was meant."""


class SkippedPlugin(EpsballWarning):
    """A plugin that could not be loaded; everything else works without it."""


class NearChance(EpsballWarning):
    """A network that is hardly better than guessing."""


class SoftmaxOutput(EpsballWarning):
    """A network that ends in a softmax: where it is sure, margins and gradients vanish."""


class WideNoise(EpsballWarning):
    """Noise far wider than the valid range of the inputs."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known names as the end of a sentence, or the empty string."""
    close = get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
