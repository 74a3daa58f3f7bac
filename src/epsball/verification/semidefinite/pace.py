"""Time for an ascent: it ends while there is still time to check what it reached."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(eq=False)
class Stopwatch:
    """When to stop, from how long the steps before took: a factorisation cannot be stopped halfway.

    Attributes:
        until: of `time.monotonic()`.
        reserve: seconds to keep, for the check of what was reached.
        longest: seconds that a step may take: of the longest so far, or what is expected of the first.
        late: whether it said stop.
    """

    until: float = math.inf
    reserve: float = 0.0
    longest: float = 0.0
    late: bool = False
    _at: float | None = None

    def stop(self) -> bool:
        """Ask before every step."""
        now = time.monotonic()
        if self._at is not None:
            self.longest = max(self.longest, now - self._at)
        self._at = now
        self.late |= now + self.longest + self.reserve > self.until
        return self.late

    def pause(self) -> None:
        """What follows is no step."""
        self._at = None
