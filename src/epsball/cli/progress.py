"""How far a run has come, told while it runs: by a bar on a terminal, elsewhere by a plain line now and then."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 5.0  # seconds between two plain lines


class Told(ABC):
    """What a run tells of itself."""

    @abstractmethod
    def __call__(self, done: int, total: int) -> None:
        """So many of all are done."""

    @abstractmethod
    def step(self, name: str, sample: int, samples: int) -> None:
        """A step begins with a sample, counted from 1, of those that it was given."""


class Unheard(Told):
    """Nobody is told."""

    def __call__(self, done: int, total: int) -> None:
        """Nothing."""

    def step(self, name: str, sample: int, samples: int) -> None:
        """Nothing."""


class ProgressLines(Told):
    """A line at most every few seconds, and one as often where nothing new is heard: a long sample is seen to go on.

    Args:
        what: is done.
        say: takes a line.
        every: seconds between two lines.
        clock: in seconds.
    """

    def __init__(
        self, what: str, say: Callable[[str], None], *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._say, self._every, self._clock = what, say, every, clock
        self._began = self._said = clock()
        self._done, self._step = "", ("", 0.0)
        self._lock, self._over = threading.Lock(), threading.Event()

    def __call__(self, done: int, total: int) -> None:
        with self._lock:
            self._done, self._step = f"{done} of {total}", ("", 0.0)
        self.tell()

    def step(self, name: str, sample: int, samples: int) -> None:
        with self._lock:
            self._step = f"sample {sample} of {samples}, {name}", self._clock()
        self.tell()

    def tell(self) -> None:
        """The line, if it is time for one."""
        with self._lock:
            now = self._clock()
            if now - self._said < self._every:
                return
            self._said = now
            step, since = self._step
            seconds = f"{now - (since if step else self._began):.0f} s"
            self._say(f"{self._what}: " + "; ".join(filter(None, (self._done, f"{step}, {seconds}" if step else seconds))))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A second thread tells while the first one computes; it ends with the block, however that ends."""
        thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every / 10):
            self.tell()


class _Bar(Told):
    """A bar; beside it the step."""

    def __init__(self, what: str, bar: Progress) -> None:
        self._what, self._bar, self._task = what, bar, bar.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total, description=self._what)

    def step(self, name: str, sample: int, samples: int) -> None:
        self._bar.update(self._task, description=f"{self._what}: sample {sample} of {samples}, {name}")


@contextlib.contextmanager
def shown(what: str, console: Console) -> Iterator[Told]:
    """A bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        lines = ProgressLines(what, lambda text: console.print(text, markup=False))
        with lines.running():
            yield lines
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(what, bar)
