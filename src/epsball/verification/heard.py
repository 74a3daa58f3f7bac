"""Who hears how far a step has come with the samples it was given. Nothing that is computed depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Heard = Callable[[str, int, int], None]  # a step's name, the sample that it begins, counted from 1, and how many it was given


def nobody(step: str, sample: int, samples: int) -> None:
    """Nobody listens."""


_listener: ContextVar[Heard] = ContextVar("listener", default=nobody)


@contextmanager
def listening(heard: Heard) -> Iterator[None]:
    """Whoever hears the steps that run in this block."""
    token = _listener.set(heard)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(step: str, sample: int, samples: int) -> None:
    """A step begins with a sample."""
    _listener.get()(step, sample, samples)
